"""The manual's format runs, is as short as it says, and holds the contract."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from django.test import override_settings
from django.urls import include, path

from resumable_stream.formats import ChunkFormat
from resumable_stream.formats.encoder import ItemEncoder
from resumable_stream.testing import FormatContract

from ..support.manual import ROOT, UrlConf, code_blocks
from ..support.visitors import Visitor

FORMAT, VIEW, CONTRACT = code_blocks("docs/formats.md", "python")


@pytest.fixture(autouse=True, scope="module")
def _my_app() -> Iterator[None]:
    """The manual's module, where its dotted path says."""
    module = ModuleType("my_app.formats")
    exec(FORMAT, module.__dict__)  # The manual's own code.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "my_app", ModuleType("my_app"))
        patch.setitem(sys.modules, "my_app.formats", module)
        yield


exec(CONTRACT, globals())
assert issubclass(globals()["TestPiecesFormat"], FormatContract)


def test_format_has_at_most_forty_lines_of_code() -> None:
    lines = [line for line in FORMAT.splitlines() if line and not line.startswith(("from ", "#"))]
    assert len(lines) <= 40


async def test_view_with_the_format_answers_and_replays() -> None:
    names: dict[str, type] = {}
    exec(VIEW, names)
    with override_settings(ROOT_URLCONF=UrlConf(path("api/chat", include(names["PiecesChat"].urls())))):
        visitor = Visitor()
        answered = await visitor.post("/api/chat", {"id": "pieces", "message": {"role": "user", "content": "Hi"}})
        messages = await visitor.get("/api/chat/pieces/messages")

    assert [json.loads(event.data) for event in answered.events] == [
        {"type": "text", "delta": "Hello "},
        {"type": "data", "value": 42},
        {"type": "text", "delta": "world"},
        {"type": "end", "reason": "finished", "error": None},
    ]
    assert [message["content"] for message in json.loads(messages.body)["messages"]] == ["Hi", "Hello world"]


def test_manual_names_every_method_that_a_format_or_encoder_must_have() -> None:
    text = (ROOT / "docs/formats.md").read_text()
    assert [
        name for name in ChunkFormat.__abstractmethods__ | ItemEncoder.__abstractmethods__ if name not in text
    ] == []
