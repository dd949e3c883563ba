from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resumable_stream.backends.base import BaseBackend
from resumable_stream.backends.memory import MemoryBackend
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.backends.state import StreamState
from resumable_stream.exceptions import InvalidRecordError, ResumableStreamError
from resumable_stream.records import Record

Call = Callable[[BaseBackend], Any]

WRONG_NUMBERS: dict[str, Call] = {
    "negative start": lambda backend: backend.read("a", -1),
    "no records": lambda backend: backend.read("a", 0, 0),
    "too many records": lambda backend: backend.read("a", 0, 1001),
    "negative last": lambda backend: backend.tail("a", last=-1),
    "too many last": lambda backend: backend.tail("a", last=1001),
    "empty page": lambda backend: backend.list_streams(limit=0),
    "large page": lambda backend: backend.list_streams(limit=1001),
    "follow from before the beginning": lambda backend: anext(backend.follow("a", -1)),
}
WRONG_TEXTS: dict[str, Call] = {
    "read": lambda backend: backend.read("\ud800", 0),
    "tail": lambda backend: backend.tail(""),
    "follow": lambda backend: anext(backend.follow("..", 0)),
    "delete": lambda backend: backend.delete_stream("a\0"),
    "prefix": lambda backend: backend.list_streams("\ud800"),
    "start after": lambda backend: backend.list_streams(start_after="\udfff"),
}


@pytest.fixture(params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Any) -> BaseBackend:
    if request.param == "memory":
        return MemoryBackend("default", {})
    return SQLiteBackend("default", {"path": tmp_path / "never made" / "log"})


@pytest.mark.parametrize("call", WRONG_NUMBERS.values(), ids=list(WRONG_NUMBERS))
async def test_a_number_out_of_range_is_the_callers_mistake(backend: BaseBackend, call: Call) -> None:
    with pytest.raises(ValueError, match="not") as caught:
        await call(backend)
    assert not isinstance(caught.value, ResumableStreamError)


@pytest.mark.parametrize("call", WRONG_TEXTS.values(), ids=list(WRONG_TEXTS))
async def test_a_name_that_no_stream_can_have_is_refused_everywhere(backend: BaseBackend, call: Call) -> None:
    with pytest.raises(InvalidRecordError):
        await call(backend)


def test_a_state_is_that_of_the_whole_append() -> None:
    state = StreamState()
    records = [Record.fence("one"), Record("x"), Record.trim(9), Record.fence("two"), Record("y")]
    assert state.extend(records, 1000) == 0
    assert state == StreamState(tail=5, first=3, timestamp=1000, fencing_token="two")
    assert state.extend([Record("z")], 900) == 5
    assert state == StreamState(tail=6, first=3, timestamp=1000, fencing_token="two")
