"""Stand-ins for what surrounds the protocol: an encoder, and what a generation brings along."""

from __future__ import annotations

from resumable_stream.formats.base import ChunkEncoder
from resumable_stream.protocol.claim import Claim, Opening, start
from resumable_stream.protocol.effects import append_once
from resumable_stream.protocol.head import Head
from resumable_stream.protocol.layout import HEARTBEAT, Begin, EndFacts, Token, terminal_records, with_back
from resumable_stream.records import Record
from resumable_stream.types import EndReason

from .model_log import Log, Stream

LEASE_SECONDS = 10


class CountingEncoder(ChunkEncoder):
    """Closes an answer with the number of chunks it was shown, and with how the answer ended."""

    def __init__(self) -> None:
        self._count = 0
        self._end: EndReason | None = None

    @property
    def end(self) -> EndReason | None:
        return self._end

    def start(self) -> list[str]:
        return []

    def encode(self, item: object) -> list[str]:
        return [str(item)]

    def observe(self, chunk: str) -> None:
        self._count += 1

    def finish(self) -> list[str]:
        return self._close(EndReason.FINISHED)

    def stop(self) -> list[str]:
        return self._close(EndReason.STOPPED)

    def fail(self, text: str) -> list[str]:
        return self._close(EndReason.FAILED)

    def interrupt(self, text: str) -> list[str]:
        return self._close(EndReason.INTERRUPTED)

    def _close(self, reason: EndReason) -> list[str]:
        assert self._end is None, "An encoder closes its answer once."
        self._end = reason
        return [f"closed after {self._count}", reason.value]


def encoder_for(begin: Begin | None) -> ChunkEncoder:
    return CountingEncoder()


def generation_id(name: str) -> str:
    """Make the id of the generation that a test calls by one letter."""
    return name * 20


def opening(name: str, *, mode: str = "session", key: str = "", replaces: str = "") -> Opening:
    """Make the opening of the generation that a test calls by one letter; ``replaces`` has those it may replace."""
    begin = Begin(generation_id=generation_id(name), format="text", message_id=f"message-{name}", key=key)

    def may_replace(head: Head) -> bool:
        return (head.token.generation_id or "Z")[0] in replaces

    return Opening(
        token=Token.owner(generation_id(name), LEASE_SECONDS),
        records=[begin.record()],
        mode=mode,
        key=key,
        replaces=may_replace if replaces else None,
    )


class ScriptedWriter:
    """An owner that writes what a test tells it to."""

    def __init__(
        self,
        stream: Stream,
        name: str,
        *,
        mode: str = "session",
        key: str = "",
        guess: str = "",
        replaces: str = "",
    ) -> None:
        asked = opening(name, mode=mode, key=key, replaces=replaces)
        granted = stream.run(start(asked, encoder_for, text="Gone.", guess=guess))
        assert isinstance(granted, Claim)
        self.claim = granted
        self.position = granted.end
        self._stream = stream
        self._id = generation_id(name)

    def write(self, *chunks: str) -> None:
        """Append chunks, at once."""
        self._append(self.marked([Record(chunk) for chunk in chunks]))

    def beat(self) -> None:
        """Show that the owner lives."""
        self._append(self.marked([HEARTBEAT]))

    def finish(self) -> None:
        """End the generation."""
        facts = EndFacts(generation_id=self._id, reason=EndReason.FINISHED, by="writer")
        self._append(terminal_records(["finished"], facts, back=self.position - self.claim.start))

    def marked(self, records: list[Record]) -> list[Record]:
        return with_back(records, self.position + len(records) - 1 - self.claim.start)

    def _append(self, records: list[Record]) -> None:
        self.position = self._stream.run(append_once(records, token=self.claim.token.text, at=self.position)).end


def texts_of(log: Log) -> list[str]:
    """Read a log as its bodies, with the headers where there is none."""
    return [record.body or f"({dict(record.headers).get('rs')})" for record in log.records[log.first :]]
