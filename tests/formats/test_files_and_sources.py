"""Files, sources and unusual ends, as stock clients and templates take them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ag_ui_validate.pytest_plugin import validate_agui

from resumable_stream.formats import EndReason, GenerationFacts, StoredGeneration, get_format

from .ai_client import AIClient

PAGE = {"web": {"uri": "https://example.com/?a=1&b=2", "title": "<A>"}}
FILES = [{"inlineData": {"mimeType": kind, "data": "iVBORw=="}} for kind in ("image/png", "text/html")]


def part_response(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, **more}]}


def answer(reason: str) -> list[Any]:
    """Gemini's JSON."""
    sources = {"groundingChunks": [PAGE]}
    return [
        part_response({"text": "Hello"}, groundingMetadata=sources),
        part_response(*FILES),
        part_response({"text": "there"}, finishReason=reason),
    ]


def encoded(name: str, reason: str, **facts: str) -> list[str]:
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g1", message_id="m1", chat_id="c", **facts))
    return [*encoder.start(), *(chunk for item in answer(reason) for chunk in encoder.encode(item)), *encoder.finish()]


def test_stock_clients_of_the_ai_sdk_take_every_chunk(ai: AIClient):
    chunks = [json.loads(chunk) for reason in ("MAX_TOKENS", "SAFETY", "OTHER") for chunk in encoded("aisdk", reason)]
    assert {chunk["type"] for chunk in chunks} >= {"file", "source-url", "finish"}
    assert all(ai.takes(chunks))


@pytest.mark.parametrize("version", ["", "1.0"], ids=["before 1.0", "1.0"])
@pytest.mark.parametrize("reason", ["MAX_TOKENS", "SAFETY", "OTHER"])
def test_runs_of_agui_that_end_early_conform(reason: str, version: str):
    report = validate_agui([json.loads(chunk) for chunk in encoded("agui", reason, protocol_version=version)])
    assert [found for found in report.diagnostics if found.severity == "error"] == []


def test_templates_show_files_and_sources_and_escape_them():
    page = "".join(map(get_format("html").data, encoded("html", "STOP")))
    assert '<a class="source" href="https://example.com/?a=1&amp;b=2" rel="noopener noreferrer">&lt;A&gt;</a>' in page
    assert '<img class="file" src="data:image/png;base64,iVBORw==" alt="">' in page
    assert '<a class="file" href="data:text/html;base64,iVBORw==" download>text/html</a>' in page
    assert "notice" not in page


@pytest.mark.parametrize(
    ("reason", "words"), [("MAX_TOKENS", "greatest length"), ("SAFETY", "content filter"), ("OTHER", "stopped early")]
)
def test_templates_say_that_an_answer_was_cut_off(reason: str, words: str):
    html = get_format("html")
    chunks = encoded("html", reason)
    assert words in html.data(chunks[-1])
    message = html.fold_answer(StoredGeneration(generation_id="g1", chunks=chunks, end=EndReason.FINISHED))
    assert message is not None
    assert message["finish_reason"]


def test_text_goes_on_around_a_source():
    (message,) = get_format("aisdk").fold([StoredGeneration(generation_id="g1", chunks=encoded("aisdk", "STOP"))])
    kinds = [part["type"] for part in message["parts"]]
    assert kinds == ["text", "source-url", "file", "file", "text"]
