"""The database connections of a test: those in which its transaction is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def open_transactions() -> Iterator[None]:
    """Keep the connections of the test's transaction open when a request ends.

    Django's clients see to that where a response is read to its end. A client that goes away closes its response, and
    Django closes a connection that it finds without autocommit.
    """
    kept = [connection for connection in connections.all(initialized_only=True) if connection.in_atomic_block]
    for connection in kept:
        connection.__dict__["close_if_unusable_or_obsolete"] = lambda: None
    try:
        yield
    finally:
        for connection in kept:
            del connection.__dict__["close_if_unusable_or_obsolete"]


@contextmanager
def shared_connections() -> Iterator[None]:
    """Have asgiref's thread use the connections of this one, as Django's live server does with those in memory.

    An asynchronous test of pytest runs its event loop in the thread of the test, and asgiref runs synchronous code (the
    ORM's too) in another one. With connections of its own that would be outside of the test's transaction.
    """
    shared = connections.all()
    thread = SyncToAsync.single_thread_executor
    for connection in shared:
        connection.inc_thread_sharing()
    own = thread.submit(_exchange, shared).result()
    try:
        yield
    finally:
        thread.submit(_exchange, own).result()
        for connection in shared:
            connection.dec_thread_sharing()


def _exchange(given: Sequence[BaseDatabaseWrapper]) -> Sequence[BaseDatabaseWrapper]:
    """Use these connections in the thread that calls; return those that it has used before."""
    used = connections.all(initialized_only=True)
    for connection in used:
        del connections[connection.alias]
    for connection in given:
        connections[connection.alias] = connection
    return used
