"""Runs of the AG-UI format as the protocol's conformance validator (``ag-ui-validate``) sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ag_ui_validate.pytest_plugin import validate_agui
from hypothesis import given, settings
from hypothesis import strategies as st

from .agui_strategies import chat_chunk
from .strategies import texts
from .test_agui_encoder import CALL, ENDS, FORMAT, RESULT, facts, generation

said = st.lists(
    st.one_of(texts, texts.map(lambda text: chat_chunk({"reasoning_content": text}))),
    max_size=4,
)
VERSIONS = pytest.mark.parametrize("version", ["", "1.0"], ids=["before 1.0", "1.0"])


def errors_of(produced: list[Any], end: str, version: str) -> list[str]:
    chunks = generation(FORMAT.encoder(facts(protocol_version=version)), produced, end)
    report = validate_agui([json.loads(chunk) for chunk in chunks])
    return [f"{found.rule} {found.message}" for found in report.diagnostics if found.severity == "error"]


@VERSIONS
@pytest.mark.parametrize("end", list(ENDS))
def test_text_and_calls_conform_however_they_end(version: str, end: str):
    assert errors_of(["Hel", CALL, RESULT, "lo"], end, version) == []


@VERSIONS
@settings(max_examples=50)
@given(before=said, between=said, after=said, end=st.sampled_from(list(ENDS)))
def test_text_and_reasoning_around_a_call_conform(
    version: str, before: list[Any], between: list[Any], after: list[Any], end: str
):
    assert errors_of([*before, CALL, *between, RESULT, *after], end, version) == []
    assert errors_of([*before, CALL, *between], end, version) == []
