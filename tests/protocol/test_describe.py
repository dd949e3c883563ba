from __future__ import annotations

import pytest

from resumable_stream.protocol.describe import Description, describe
from resumable_stream.protocol.layout import HEARTBEAT, Token
from resumable_stream.records import Record, SequencedRecord
from resumable_stream.types import EndReason


@pytest.mark.parametrize(
    ("record", "kind", "text"),
    [
        (Record.fence(Token.owner("g" * 20, 10).text), "claim", f"gen-a-{'g' * 20}"),
        (Record.fence(Token.terminal("g" * 20, EndReason.STOPPED).text), "fence", f"end-stopped-{'g' * 20}"),
        (Record.fence(""), "fence", ""),
        (Record.trim(3), "trim", ""),
        (HEARTBEAT, "heartbeat", ""),
        (Record("", (("rs", "begin"), ("rs-chat", "c"))), "begin", "chat=c"),
        (Record("", (("rs", "user"), ("rs-json", "{}"))), "user", "{}"),
        (Record("", (("rs", "end"), ("rs-end", "failed"))), "end", "end=failed"),
        (Record("x" * 300), "chunk", "x" * 300),
        (Record("x", (("rs-part", "0/2"),)), "chunk", "x"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() and len(value) < 20 else "",
)
def test_each_kind_of_record_is_named(record: Record, kind: str, text: str) -> None:
    described = describe(SequencedRecord(7, 1000, record.body, record.headers))

    assert described == Description(seq_num=7, time=1000, kind=kind, bytes=record.metered_bytes, text=text)
