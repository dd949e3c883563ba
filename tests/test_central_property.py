"""What a reader gathers over any number of reconnects is what one uninterrupted reader sees, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import override_settings
from django.urls import include, path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resumable_stream.backends import backends
from resumable_stream.chat.turn import Turn
from resumable_stream.conf import S2_BACKEND, SQLITE_BACKEND
from resumable_stream.views import ResumableChatView

from .support.event_source import EventSourceParser
from .support.virtual_time import run_in_virtual_time
from .support.visitors import Visitor

PAUSE = object()
"""Where the model thinks: the producer lets everybody else run."""


class Chat(ResumableChatView):
    format = "text"

    async def generate(self, turn: Turn) -> AsyncIterator[Any]:
        for item in Chat.items:
            if item is PAUSE:
                for _ in range(20):
                    await asyncio.sleep(0)
            else:
                yield item

    items: Sequence[Any] = ()

    def get_stream_name(self, request: Any, chat_id: str) -> str:
        return chat_id


class SDKChat(Chat):
    format = "aisdk"


urlpatterns = [
    path("text", include(Chat.urls())),
    path("sdk", include((SDKChat.urls()[0], "resumable_stream"), namespace="sdk")),
]


@dataclass
class Case:
    """One answer, and a reader who loses its connection."""

    items: Sequence[Any]
    cuts: Sequence[int]
    """After how many bytes each connection breaks; the one after the last holds."""
    format: str = "text"
    by_header: bool = True
    """Whether the reader names its cursor in ``Last-Event-ID`` or in the query."""
    deliver: str = "durable"


async def _read_to_the_end(visitor: Visitor, case: Case, chat: str) -> EventSourceParser:
    """Read as ``EventSource`` does: what is incomplete when a connection breaks is thrown away."""
    whole = EventSourceParser()
    cursor = ""
    for cut_after in [*case.cuts, None]:
        if cursor == "":
            exchange = visitor.begin("GET", f"/{case.format}/replay?id={chat}&from=0", cut_after=cut_after)
        elif case.by_header:
            exchange = visitor.begin("GET", f"/{case.format}/{chat}/stream", Last_Event_ID=cursor, cut_after=cut_after)
        else:
            exchange = visitor.begin("GET", f"/{case.format}/replay?id={chat}&from={cursor}", cut_after=cut_after)
        await exchange.done()
        received = EventSourceParser()
        received.feed(exchange.body)
        whole.events += received.events
        cursor = received.last_event_id or cursor
        assert exchange.status in (200, 204)
        if exchange.status == 204 or exchange.is_complete:
            break
    return whole


async def _compare(case: Case) -> None:
    visitor, chat = Visitor(), uuid4().hex
    Chat.items = case.items
    if case.format == "text":
        body: dict[str, Any] = {"id": chat, "message": "Hi"}
    else:
        body = {"id": chat, "messages": [{"id": "m1", "role": "user", "parts": []}]}
    first = await visitor.begin("POST", f"/{case.format}", body).begun()
    cut_off = asyncio.ensure_future(_read_to_the_end(visitor, case, chat))
    uninterrupted = await first.done()
    gathered = await cut_off
    # Once more, now that it is over and comes from the log alone.
    again = await _read_to_the_end(visitor, case, chat)

    assert uninterrupted.is_complete
    assert gathered.events == uninterrupted.events
    assert again.events == uninterrupted.events
    ids = [int(event.last_event_id) for event in uninterrupted.events]
    assert ids == sorted(set(ids))
    if case.format == "text":
        said = "".join(json.loads(event.data) for event in uninterrupted.events if event.type == "message")
        assert _joined(said) == _joined("".join(item for item in case.items if isinstance(item, str)))
    assert all("\n" not in event.data and "\ufffd" not in event.data for event in uninterrupted.events)


def _joined(text: str) -> str:
    """Join the halves of surrogate pairs, which JSON tells apart only where they come in different chunks."""
    return json.loads(json.dumps(text))  # type: ignore[no-any-return]


@contextmanager
def _log(case: Case, backend: str, **options: Any) -> Iterator[None]:
    values = {
        "HANDLE_SIGNALS": False,
        "BACKENDS": {"default": {"BACKEND": backend, "OPTIONS": options}},
        "DELIVER": case.deliver,
        # So small that readers fall behind it.
        "RING_BYTES": 2000,
    }
    with override_settings(ROOT_URLCONF=__name__, RESUMABLE_STREAM=values):
        yield


async def _compare_and_close(case: Case) -> None:
    try:
        await _compare(case)
    finally:
        await backends.close_all()


def _in_memory(case: Case) -> None:
    with _log(case, "resumable_stream.backends.memory.MemoryBackend"):
        run_in_virtual_time(lambda: _compare(case))


@pytest.fixture(params=["sqlite", "s2"])
def on_a_real_log(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Case], None]:
    if request.param == "s2":
        backend, options = S2_BACKEND, request.getfixturevalue("s2_server").options()
    else:
        backend, options = SQLITE_BACKEND, {"path": str(tmp_path / "streams.sqlite3")}

    def run(case: Case) -> None:
        with _log(case, backend, **options):
            asyncio.run(_compare_and_close(case))

    return run


AWKWARD = ["\u2028", "\u2029", "\x85", "\0", "\ud83d", "\udc00", "\ud83d\ude00", "\r\n", "\n\n", "x: y\n\n", ""]
TEXTS = st.sampled_from(AWKWARD) | st.text(st.characters(), max_size=200)
ITEMS = st.lists(st.just(PAUSE) | TEXTS, max_size=40)
CUTS = st.lists(st.integers(0, 3000), max_size=12)
CASES = st.builds(
    Case,
    items=ITEMS,
    cuts=CUTS,
    format=st.sampled_from(["text", "sdk"]),
    by_header=st.booleans(),
    deliver=st.sampled_from(["durable", "live"]),
)
EXAMPLES = [
    Case(items=[], cuts=[0, 1, 2, 30]),
    Case(items=AWKWARD * 3, cuts=list(range(40, 400, 17))),
    Case(items=AWKWARD * 3, cuts=list(range(40, 400, 17)), format="sdk", by_header=False),
    Case(items=["x" * 1_572_864, "y"], cuts=[100, 900_000, 1_600_000]),
    Case(items=["\u2028\ud83d" * 300_000, PAUSE, "y"], cuts=[3_000_000], format="sdk", deliver="live"),
    Case(items=[f"{number} " for number in range(10_000)], cuts=[0, 99, 100_000, 65_536, 8_191]),
]
NAMES = ["nothing", "awkward text", "awkward parts", "1.5 MiB", "parts in escapes", "10,000 chunks"]


@given(CASES)
@settings(max_examples=60)
def test_it_holds_in_memory(case: Case) -> None:
    _in_memory(case)


@pytest.mark.parametrize("case", EXAMPLES, ids=NAMES)
def test_it_holds_in_memory_for(case: Case) -> None:
    _in_memory(case)


@given(CASES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_holds_on_a_real_log(on_a_real_log: Callable[[Case], None], case: Case) -> None:
    on_a_real_log(case)


@pytest.mark.parametrize("case", EXAMPLES, ids=NAMES)
def test_it_holds_on_a_real_log_for(on_a_real_log: Callable[[Case], None], case: Case) -> None:
    on_a_real_log(case)
