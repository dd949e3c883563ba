"""``python -m benchmarks.serve MODULE:APPLICATION FD``: serve with uvicorn on a socket that is already bound."""

import socket
import sys

import uvicorn

if __name__ == "__main__":
    application, descriptor = sys.argv[1:]
    config = uvicorn.Config(application, lifespan="off", access_log=False, log_level="warning", backlog=4096)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])
