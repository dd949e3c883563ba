"""Engines on a log in memory, what an app hears of them, and owners that fall silent."""

from __future__ import annotations

from typing import Any

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.on_end import End
from resumable_stream.protocol.claim import Opening, claim
from resumable_stream.protocol.layout import Begin, Token
from resumable_stream.protocol.perform import perform
from resumable_stream.records import Record

from ..support.logs import FaultyLog


class Listener:
    """What an app hears of its generations."""

    def __init__(self) -> None:
        self.ends: list[End] = []

    async def on_end(self, end: End) -> None:
        self.ends.append(end)

    @property
    def reasons(self) -> list[str]:
        return [end.reason.value for end in self.ends]


def make_engine(listener: Listener | None = None, **options: Any) -> ChatEngine:
    on_end = listener.on_end if listener is not None else None
    return ChatEngine(format="text", on_end=on_end, **options)


async def abandon(log: FaultyLog, name: str = "d", stream: str = "s", *, key: str = "") -> None:
    """Leave a generation on the log whose writer died after its first chunk."""
    generation_id = name * 20
    begin = Begin(
        generation_id=generation_id, format="text", message_id=f"m-{name}", chat_id="c1", actor="ada", key=key
    )
    opening = Opening(token=Token.owner(generation_id, 10), records=[begin.record(), Record('"half"')])
    granted = await perform(claim(opening), log, stream)
    assert granted is not None
