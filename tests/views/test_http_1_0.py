"""Requests over HTTP/1.0, which can follow no stream."""

from __future__ import annotations

import pytest

from ..support.logs import FaultyLog
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Visitor
from .chats import question

pytestmark = [pytest.mark.urls("tests.views.chats"), pytest.mark.usefixtures("default_answer")]


@pytest.mark.parametrize("version", ["1.0", "1"])
@in_virtual_time
async def test_a_stream_over_http_1_0_is_refused_before_anything_is_started(
    log: FaultyLog, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    """There the end of a connection is the end of the body: a torn answer would look like a whole one."""
    refused = await Visitor(http_version=version).post("/api/chat", question())

    assert refused.status == 505
    assert refused.is_complete
    assert b"proxy_http_version 1.1" in refused.body
    assert "/api/chat" in caplog.text
    assert log.calls["append"] == 0


@pytest.mark.parametrize(
    "path", ["/api/chat/replay?id=c1&live=1", "/api/chat/c1/stream", "/api/chat/replay?id=c1&from=0"]
)
@in_virtual_time
async def test_no_stream_can_be_followed_over_http_1_0(log: FaultyLog, path: str) -> None:
    visitor = Visitor()
    await visitor.post("/api/chat", question())
    visitor.http_version = "1.0"

    assert (await visitor.get(path)).status == 505


@in_virtual_time
async def test_answers_that_tell_their_length_are_served_over_http_1_0(log: FaultyLog) -> None:
    visitor = Visitor(http_version="1.0")
    assert (await visitor.post("/api/detached", question())).status == 202
    assert (await visitor.get("/api/detached/replay?id=c1&from=0&wait=1")).status == 200
    assert (await visitor.get("/api/detached/c1/messages")).status == 200
