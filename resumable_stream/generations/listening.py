"""Noticing that the server of this process has stopped to listen.

A server that recycles a worker after so many requests, or ends its workers by other means than a signal, closes the
worker's listening socket and then waits for the connections that are left. Nothing tells the application: a lifespan
ends only after the last of them, and one reader who waits for the next answer would hold a process for good that takes
no requests any more. So the socket itself is looked at, once a second.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Iterator

CHECK_SECONDS = 1.0
FILE_DESCRIPTORS = "/dev/fd"
"""A directory with one entry for each file that this process has open; not on Windows."""
# With this flag Python takes a descriptor as it is, even where the app has set a default timeout.
_AS_IT_IS = getattr(socket, "SOCK_NONBLOCK", 0)

Identity = tuple[int, int, int]
"""A descriptor, and the device and inode of the file that it stood for."""


def watch_listening(loop: asyncio.AbstractEventLoop, address: object, closed: Callable[[], None]) -> bool:
    """Call ``closed`` once when no socket that listens at ``address`` now is open any more in this process.

    ``address`` is ``(host, port)``, or ``(path, None)`` for a Unix socket. Returns ``False`` where nothing listens
    there that can be seen.
    """
    watched = tuple(_listening_at(address))
    if not watched:
        return False

    def look() -> None:
        if any(_is_open(one) for one in watched):
            loop.call_later(CHECK_SECONDS, look)
        else:
            closed()

    loop.call_later(CHECK_SECONDS, look)
    return True


def _listening_at(address: object) -> Iterator[Identity]:
    if not isinstance(address, (tuple, list)) or len(address) != 2 or not os.path.isdir(FILE_DESCRIPTORS):
        return
    if not _AS_IT_IS and socket.getdefaulttimeout() is not None:
        return
    for name in os.listdir(FILE_DESCRIPTORS):
        if name.isdecimal() and _listens(int(name), *address):
            found = os.fstat(int(name))
            yield int(name), found.st_dev, found.st_ino


def _listens(descriptor: int, host: str, port: int | None) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        found = socket.socket(-1, socket.SOCK_STREAM | _AS_IT_IS, 0, fileno=descriptor)
    except OSError:  # Closed in the meantime.
        return False
    try:
        if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        name = found.getsockname()
    except OSError:
        return False
    finally:
        found.detach()  # Not ours to close.
    return name == host if port is None else isinstance(name, tuple) and name[1] == port


def _is_open(one: Identity) -> bool:
    descriptor, device, inode = one
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (device, inode)
