"""Ports for servers that are started later, or started again on the same one."""

from __future__ import annotations

import atexit
import itertools
import socket
from functools import cache

# Below what systems give to outgoing connections: a port of those may be taken between a choice and the start of a
# server, or while a server is down, and who tries to connect to one where nobody listens may even meet themselves.
FIRST_PORT = 11_000
END_OF_PORTS = 16_000
SLICE = 250
"""Ports of one process: more than a run has servers, so that no page of a test that is over finds another's server."""


def free_port() -> int:
    """Choose a port of 127.0.0.1 that nobody listens on, and that nobody else will choose while this process lives."""
    ports = _ports_of_this_process()
    return next(port for port in itertools.islice(ports, SLICE) if _is_free(port))


@cache
def _ports_of_this_process() -> itertools.cycle[int]:
    """Take a slice of the ports for this process alone, be there workers of a run or other runs beside it."""
    for first in range(FIRST_PORT, END_OF_PORTS, SLICE):
        # Bound for as long as the process lives: that is what tells the others.
        sign = socket.socket()
        try:
            sign.bind(("127.0.0.1", first))
        except OSError:
            sign.close()
            continue
        atexit.register(sign.close)
        return itertools.cycle(range(first + 1, first + SLICE))
    raise RuntimeError(f"All slices of the ports from {FIRST_PORT} to {END_OF_PORTS - 1} are taken.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do, whom connections that are over do not hinder.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
