"""``python -m benchmarks.serve MODULE:APPLICATION FD``: serve with uvicorn on a socket that is already bound."""

import logging
import os
import socket
import sys

import uvicorn

if __name__ == "__main__":
    # asyncio warns of what is sent after a client has left; the load client leaves often.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    application, descriptor = sys.argv[1:]
    config = uvicorn.Config(
        application,
        loop="asyncio",
        http=os.environ.get("BENCHMARK_HTTP", "h11"),
        lifespan="off",
        access_log=False,
        log_level="warning",
        backlog=4096,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])
