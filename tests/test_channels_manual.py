"""The manual of the websockets is true: its code runs, its frames are understood, its tables are complete."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest
from channels.testing import HttpCommunicator

from resumable_stream.protocol.layout import Cause
from resumable_stream.websockets import connection
from resumable_stream.websockets.subprotocols import base as dialect
from resumable_stream.websockets.subprotocols.native import StreamDialect

from .support.logs import use_faulty_log
from .support.manual import ROOT, code_blocks
from .support.sockets import Socket, chunks_of
from .support.virtual_time import in_virtual_time
from .websockets.chats import QUESTION, Chat

MANUAL = (ROOT / "docs" / "channels.md").read_text()
BLOCKS = code_blocks("docs/channels.md", "python")
(SHORT,) = (block for block in code_blocks("README.md", "python") if "websocket_urlpatterns" in block)


@pytest.fixture
def routed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the manual's code defines, in a project whose chats are those of the consumers' tests."""
    use_faulty_log(settings, CHAT_VIEW=f"{Chat.__module__}.Chat")
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    names: dict[str, Any] = {"SupportChat": Chat, "SalesChat": Chat}
    for block in BLOCKS:
        exec(compile(block, "channels.md", "exec"), names)  # The manual's own code.
        exec("from resumable_stream.routing import http_urlpatterns\nfrom django.urls import re_path", names)
    short: dict[str, Any] = {}
    exec(SHORT, short)
    return {**names, "websocket": short["websocket"]}


@pytest.mark.parametrize("application", ["websocket", "application"])
async def test_the_routing_serves_websockets(routed: dict[str, Any], application: str) -> None:
    headers = {"host": "testserver", "origin": "http://testserver"}
    async with Socket(routed[application], path="/api/chat/socket", headers=headers) as socket:
        socket.say("start", "c1", body=QUESTION)
        assert chunks_of(await socket.hear_until("end")) == ["Hello", " world"]


@in_virtual_time
@pytest.mark.parametrize("prefix", ["support", "sales"])
async def test_the_routing_of_several_chats_serves_each(routed: dict[str, Any], prefix: str) -> None:
    async with Socket(routed["several_sockets"], path=f"/api/{prefix}/socket") as socket:
        socket.say("start", "c1", body=QUESTION)
        assert chunks_of(await socket.hear_until("end")) == ["Hello", " world"]


@in_virtual_time
async def test_the_routing_leaves_other_requests_to_django(routed: dict[str, Any]) -> None:
    for path, status in [("/api/chat/replay?id=none", 204), ("/elsewhere", 404)]:
        communicator = HttpCommunicator(routed["http"], "GET", path, headers=[(b"host", b"testserver")])
        response = await communicator.get_response()
        await communicator.wait()
        assert response["status"] == status


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_every_python_block_is_valid_python(block: str) -> None:
    ast.parse(block)


def test_every_frame_of_a_client_is_understood() -> None:
    said = re.findall(r'^\| `(\{"type": .*?\})`', MANUAL, re.MULTILINE)

    assert len(said) == 5
    assert [type(StreamDialect().read(json.loads(frame))) for frame in said] == [
        dialect.Subscribe,
        dialect.Unsubscribe,
        dialect.Start,
        dialect.Stop,
        dialect.Ping,
    ]


def test_every_reason_and_close_code_is_told() -> None:
    for name in ("NOTHING", "FORBIDDEN", "SHUTDOWN", "UNAVAILABLE"):
        assert f"| `{getattr(dialect, name)}` |" in MANUAL
    for cause in Cause:
        assert re.search(rf"^\| `{cause}` \| `\w+` \|", MANUAL, re.MULTILINE), cause
    for name, code in vars(connection).items():
        if name.startswith("CLOSE_"):
            assert re.search(rf"^\|[\d, ]*\b{code}\b", MANUAL, re.MULTILINE), name
