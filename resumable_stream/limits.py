"""How much of one kind may be open in this process: in all, and for each key (an owner, or a visitor's address)."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .exceptions import LimitExceededError, ServerBusyError

IPV6_HOST_BITS = 64
"""Whoever has one address of IPv6 has this many bits of them."""


class Place:
    """Something that is open and counts; given back by :meth:`release`, at the latest when it is forgotten."""

    __slots__ = ("_key", "_places")

    def __init__(self, places: Places, key: str) -> None:
        self._places: Places | None = places
        self._key = key

    def release(self) -> None:
        """Give the place back; may be called more than once."""
        places, self._places = self._places, None
        if places is not None:
            places.give_back(self._key)

    # A response whose request is cancelled between the view and the first byte is never closed by anyone.
    __del__ = release


@contextmanager
def releasing(place: Place) -> Iterator[None]:
    """Give ``place`` back if the block fails."""
    try:
        yield
    except BaseException:
        place.release()
        raise


class Places:
    """Counts what is open of one kind.

    Args:
        full: What a client is told whose key has as many as it may have.
        left: Called when the last one is given back.
    """

    def __init__(self, full: str, left: Callable[[], None] | None = None) -> None:
        self._full = full
        self._left = left
        self.taken: Counter[str] = Counter()
        """By key; the empty one is nobody's, and has no limit of its own."""
        self._total = 0

    def __bool__(self) -> bool:
        return self._total > 0

    def take(self, key: str, *, limit: int | None, limit_per_key: int | None) -> Place:
        """Take a place; ``None`` stands for no limit.

        Raises:
            ServerBusyError: This process has ``limit`` places open.
            LimitExceededError: ``key`` has ``limit_per_key``.
        """
        require_room(self._total, limit)
        if limit_per_key is not None and key and self.taken[key] >= limit_per_key:
            raise LimitExceededError(self._full)
        self.taken[key] += 1
        self._total += 1
        return Place(self, key)

    def give_back(self, key: str) -> None:
        """Count one less; a :class:`Place` calls it."""
        self._total -= 1
        self.taken[key] -= 1
        if not self.taken[key]:
            del self.taken[key]
        if not self._total and self._left is not None:
            self._left()


def require_room(taken: int, limit: int | None) -> None:
    """Check a limit of this process.

    Raises:
        ServerBusyError: It is reached.
    """
    if limit is not None and taken >= limit:
        raise ServerBusyError


def address_key(address: str) -> str:
    """Return the key of a client's address: ``""`` where it is not one client's.

    A private or loopback address is most often that of a proxy that all clients come through.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if not found.is_global:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return f"address-{found.ipv4_mapped}"
        prefix = found.max_prefixlen - IPV6_HOST_BITS
        return f"address-{ipaddress.ip_network((found, prefix), strict=False).network_address}"
    return f"address-{found}"
