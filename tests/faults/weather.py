"""Faults on the way to a log, drawn from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a request is for; each kind breaks in its own places."""

    APPEND = "append"
    READ = "read"
    FOLLOW = "follow"


class Trouble(Enum):
    """What happens to one request."""

    CUT_BEFORE = "reset before the request is forwarded"
    CUT_IN_REQUEST = "reset in the middle of the request"
    CUT_AFTER = "forwarded, reset before the answer"
    CUT_IN_ANSWER = "reset in the middle of the answer or of an event"
    LATE = "forwarded when the client has given it up"
    STALL = "the answer stops coming"
    DELAY = "forwarded after a pause"
    REFUSED_BEFORE = "answered with an error, not forwarded"
    REFUSED_AFTER = "forwarded, answered with an error"
    RATE_LIMITED = "answered with 429"


APPLIES = (Trouble.CUT_AFTER, Trouble.CUT_IN_ANSWER, Trouble.LATE, Trouble.STALL, Trouble.REFUSED_AFTER)
"""After these the log has what the client does not know of."""
REFUSED_LISTENING = "connections refused for a while"

# Statuses and codes as S2's API gives them; the first list leaves open whether the request was applied.
OPEN_REFUSALS = ((500, "storage"), (500, "other"), (503, "unavailable"), (504, "upstream_timeout"))
SURE_REFUSALS = ((409, "transaction_conflict"), (502, "hot_server"), (503, "server_draining"))


@dataclass(frozen=True, slots=True)
class Fault:
    """A trouble with its measures."""

    trouble: Trouble
    seconds: float = 0.0
    """How long the request or the answer is held up."""
    answer_bytes: int = 0
    """How much of the answer passes before it breaks."""
    status: int = 0
    code: str = ""
    retry_after_ms: int = 0

    @property
    def reply(self) -> bytes:
        """The answer that comes in place of the log's."""
        body = f'{{"code":"{self.code}","message":"a test says so"}}'
        more = f"retry-after-ms: {self.retry_after_ms}\r\n" if self.retry_after_ms else ""
        head = f"HTTP/1.1 {self.status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return f"{head}{more}connection: close\r\n\r\n{body}".encode()


class Weather:
    """Draws for each request whether it meets a fault, the same for the same seed and order of requests."""

    def __init__(self, seed: str, *, give_up_seconds: float) -> None:
        self._draw = random.Random(seed)
        self._share = self._draw.choice((0.0, 0.05, 0.1, 0.2, 0.35))
        self._troubles = self._draw.sample(list(Trouble), self._draw.randint(1, len(Trouble)))
        self._give_up_seconds = give_up_seconds
        self._fair = asyncio.Event()
        self.met: Counter[str] = Counter()
        """How often each fault happened."""

    def clear_up(self) -> None:
        """Let everything pass from now on."""
        self._fair.set()

    async def clears_up_within(self, seconds: float) -> bool:
        """Wait for so long, or until everything passes; tell whether it does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._fair.wait()
        return self._fair.is_set()

    def outages(self) -> list[tuple[float, float]]:
        """Draw when nobody listens: after how many seconds, and for how many."""
        count = self._draw.choice((0, 0, 1, 2)) if self._share else 0
        return [(self._draw.uniform(0, 1.5), self._draw.uniform(0.02, 1.2)) for _ in range(count)]

    def next(self, kind: Kind) -> Fault | None:
        """Draw what the next request meets."""
        if self._fair.is_set() or self._draw.random() >= self._share:
            return None
        fault = self._fault(self._draw.choice(self._troubles), kind)
        self.met[fault.trouble.value] += 1
        return fault

    def _fault(self, trouble: Trouble, kind: Kind) -> Fault:
        draw = self._draw
        if trouble in (Trouble.LATE, Trouble.STALL):
            seconds = self._give_up_seconds * draw.uniform(1.05, 1.5)
        else:
            seconds = draw.uniform(0.01, self._give_up_seconds * 0.6)
        status, code = draw.choice(OPEN_REFUSALS)
        if trouble is Trouble.REFUSED_BEFORE:
            status, code = draw.choice((*OPEN_REFUSALS, *SURE_REFUSALS))
        elif trouble is Trouble.RATE_LIMITED:
            status, code = 429, "rate_limited"
        return Fault(
            trouble,
            seconds=seconds,
            answer_bytes=draw.randint(1, {Kind.APPEND: 300, Kind.READ: 5000, Kind.FOLLOW: 20_000}[kind]),
            status=status,
            code=code,
            retry_after_ms=draw.randint(10, 200) if trouble is Trouble.RATE_LIMITED else 0,
        )
