"""Chats that somebody began as an anonymous visitor, and goes on with after signing in.

A visitor's id lives in the session, which Django keeps at login and empties at logout. So a signed-in user whose
session holds one is who the visitor was. The first time that this user opens a chat that only the visitor has, two
notes on the log make it last, for other devices and after a logout: ``guest/<visitor>`` names the one user that the
visitor has become, and ``guests/<user>`` lists the visitors that the user has been.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from ..backends.base import BaseBackend
from ..exceptions import AppendOutcomeUnknownError, RecordsTrimmedError, SeqNumMismatchError, StreamNotFoundError
from ..protocol.effects import Append, Operation
from ..protocol.perform import REQUEST_PATIENCE_SECONDS, perform, read_patiently
from ..records import Record

MAX_VISITORS = 20
"""How many of the visitors that a user has been are looked for: the latest."""
MAX_REMEMBERED = 10_000
_remembered: weakref.WeakKeyDictionary[BaseBackend, dict[str, str]] = weakref.WeakKeyDictionary()
"""By the name of a user's stream, the stream that this process has found to be the user's chat."""


async def follow_guest(backend: BaseBackend, user: str, visitor: str | None, name_of: Callable[[str], str]) -> str:
    """Return the name of the stream that holds the user's chat: the user's own, or that of a visitor it has been.

    Args:
        backend: The log.
        user: The signed-in user, as an owner.
        visitor: The visitor that the session holds, as an owner; ``None`` if it holds none that can be relied on.
        name_of: Names the chat's stream for an owner.

    Raises:
        BackendUnavailableError: The log cannot be reached.
    """
    own = name_of(user)
    remembered = _remembered.setdefault(backend, {})
    if own in remembered:
        return remembered[own]
    exists, visitors = await asyncio.gather(_exists(backend, own), visitors_of(backend, user))
    found = own if exists else await _find(backend, user, visitor, visitors, name_of)
    if found is not None:
        if len(remembered) >= MAX_REMEMBERED:
            remembered.clear()
        remembered[own] = found
    return found or own


async def visitors_of(backend: BaseBackend, user: str) -> list[str]:
    """Return the visitors that the user has been, as owners, oldest first."""
    try:
        batch = await _read(backend, _list_name(user))
    except (StreamNotFoundError, RecordsTrimmedError):
        return []
    return [record.body for record in batch.records if record.body][-MAX_VISITORS:]


async def _find(
    backend: BaseBackend, user: str, visitor: str | None, visitors: list[str], name_of: Callable[[str], str]
) -> str | None:
    for known in reversed(visitors):
        if await _exists(backend, name_of(known)):
            return name_of(known)
    if visitor is None or visitor in visitors or not await _exists(backend, name_of(visitor)):
        return None
    return name_of(visitor) if await _become(backend, user, visitor) else None


async def _become(backend: BaseBackend, user: str, visitor: str) -> bool:
    """Note that the visitor has become the user, unless it has become another one before."""
    name = f"guest/{visitor}"
    await perform(_note(Record(user), at=0), backend, name)
    batch = await _read(backend, name, 1)
    if [record.body for record in batch.records] != [user]:
        return False
    await perform(_note(Record(visitor), at=None), backend, _list_name(user))
    return True


def _note(record: Record, *, at: int | None) -> Operation[None]:
    while True:
        try:
            yield Append([record], None, at)
        except SeqNumMismatchError:
            return
        except AppendOutcomeUnknownError:
            # Once more: at a position it is refused if it is there, and a list may name a visitor twice.
            continue
        return


async def _exists(backend: BaseBackend, stream: str) -> bool:
    try:
        await _read(backend, stream, 1)
    except StreamNotFoundError:
        return False
    except RecordsTrimmedError:
        return True
    return True


async def _read(backend: BaseBackend, stream: str, limit: int = 1000) -> Any:
    return await read_patiently(backend, stream, 0, limit, patience_seconds=REQUEST_PATIENCE_SECONDS)


def _list_name(user: str) -> str:
    return f"guests/{quote(user, safe='@')}"
