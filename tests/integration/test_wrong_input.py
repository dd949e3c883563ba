"""What clients should not send, and what a server must make of it: a clear refusal, no trace, no harm to others."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from resumable_stream.conf import known_settings

from ..support.patience import PATIENCE_SECONDS
from .servers import Server
from .visitor import Visitor, expect, gather, new_id, user_message

# Nothing here is about the log.
pytestmark = pytest.mark.parametrize("server", ["daphne-sqlite", "uvicorn-sqlite"], indirect=True)

MESSAGES = [user_message("Hello.")]
DEEP = 100_000
STALLED_READERS = 10
STARTS = 8


async def post(visitor: Visitor, body: bytes | str, content_type: str = "application/json") -> int:
    """POST a body as it is; check that a refusal says something to people and nothing of our insides."""
    response = await visitor.http.post(visitor.prefix, content=body, headers={"Content-Type": content_type})
    if response.status_code >= 400:
        assert response.text
        assert "Traceback" not in response.text
    return response.status_code


BROKEN_BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"id": "\xff"}',
    "NaN": b"NaN",
    "a list": b"[]",
    "a string": b'"hello"',
    "null": b"null",
    "a list nested too deep": b"[" * DEEP + b"]" * DEEP,
    "an object nested too deep": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
}


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
async def test_a_body_that_is_no_json_object_is_refused(visitor: Visitor, body: bytes) -> None:
    assert await post(visitor, body) == 400


WRONG_FIELDS: dict[str, dict[str, Any]] = {
    "no messages": {},
    "messages is null": {"messages": None},
    "messages is a string": {"messages": "Hello."},
    "messages is empty": {"messages": []},
    "a message is a string": {"messages": ["Hello."]},
    "a message without a role": {"messages": [{"id": "m", "parts": []}]},
    "parts is a number": {"messages": [{"id": "m", "role": "user", "parts": 1}]},
    "a part is a string": {"messages": [{"id": "m", "role": "user", "parts": ["Hello."]}]},
}


@pytest.mark.parametrize("fields", WRONG_FIELDS.values(), ids=WRONG_FIELDS)
async def test_a_field_of_the_wrong_type_is_refused_and_nothing_is_created(
    visitor: Visitor, fields: dict[str, Any]
) -> None:
    chat = new_id()

    assert await post(visitor, json.dumps({"id": chat, "trigger": "submit-message", **fields})) == 400

    assert await visitor.replay(chat) is None


WRONG_IDS: dict[str, Any] = {
    "missing": None,
    "a number": 7,
    "a list": ["a"],
    "empty": "",
    "a slash": "a/b",
    "dots": "..",
    "a control character": "a\x01b",
    "NUL": "a\x00b",
    "a line break": "a\n",
    "a lone surrogate": "a\ud800",
    "a letter outside ASCII": "é",
    "too long": "a" * 1000,
}


@pytest.mark.parametrize("chat", WRONG_IDS.values(), ids=WRONG_IDS)
async def test_an_id_that_is_none_is_refused_when_a_chat_is_started_or_stopped(visitor: Visitor, chat: Any) -> None:
    assert await post(visitor, json.dumps({"id": chat, "messages": MESSAGES})) == 400
    # By hand: httpx does not escape what UTF-8 cannot encode.
    headers = {"Content-Type": "application/json"}
    told = await visitor.http.request("DELETE", visitor.prefix, content=json.dumps({"id": chat}), headers=headers)
    assert told.status_code == 400


@pytest.mark.parametrize("chat", ["a%2Fb", "a%00b", "a%0Ab", "%2E%2E", "a" * 1000, "%C3%A9", "%FF"])
async def test_an_id_that_is_none_leads_nowhere_in_a_url(visitor: Visitor, chat: str) -> None:
    for url in (f"{chat}/stream", f"{chat}/messages", f"replay?id={chat}"):
        response = await visitor.http.get(f"{visitor.prefix}/{url}")
        assert response.status_code in (204, 400, 404)


async def test_a_body_that_is_not_called_json_is_refused(visitor: Visitor) -> None:
    body = json.dumps(visitor.body(new_id(), "Hello."))

    assert await post(visitor, body, "text/plain") == 415
    assert await post(visitor, body, "application/x-www-form-urlencoded") == 415
    assert await post(visitor, body, "application/json; charset=utf-8") == 200


async def test_a_body_over_the_limit_is_refused(visitor: Visitor) -> None:
    limit = known_settings()["MAX_BODY_BYTES"].value({})
    body = json.dumps({"id": new_id(), "messages": [user_message("x" * limit)]})

    assert await post(visitor, body) == 413


async def test_a_request_without_a_csrf_token_is_refused(visitor: Visitor) -> None:
    del visitor.http.headers["X-CSRFToken"]

    assert await post(visitor, json.dumps(visitor.body(new_id(), "Hello."))) == 403
    assert (await visitor.stop(new_id())).status_code == 403


async def test_a_method_without_meaning_is_refused(visitor: Visitor) -> None:
    assert (await visitor.http.put(visitor.prefix, json={})).status_code == 405
    assert (await visitor.http.post(f"{visitor.prefix}/{new_id()}/stream", json={})).status_code == 405


async def test_in_an_unknown_chat_nothing_is_found(visitor: Visitor) -> None:
    chat = new_id()

    assert await visitor.resume(chat) is None
    assert await visitor.replay(chat) is None
    assert await visitor.replay(chat, start=0) is None
    assert (await visitor.stop(chat)).status_code == 204
    assert (await visitor.messages(chat))["messages"] == []


async def test_someone_elses_chat_is_as_good_as_unknown(visitor: Visitor, server: Server) -> None:
    chat = new_id()
    async with visitor.starting(chat, "Mine. ", {"gate": chat}, "Still mine.") as response:
        await expect(response, 200)
        await visitor.gate_reached(chat)
        async with Visitor(server.base) as stranger:
            # A stranger who already has an owner's id of their own, too.
            await stranger.ask(new_id(), "Hello.")
            assert await stranger.resume(chat) is None
            assert await stranger.replay(chat, start=0) is None
            assert (await stranger.stop(chat)).status_code == 204
            generation = response.headers["X-Generation-Id"]
            assert (await stranger.stop(chat, generation=generation)).status_code == 204
            assert (await stranger.messages(chat))["messages"] == []
            assert (await stranger.ask(chat, "Theirs.")).text == "Theirs."
        await visitor.open_gate(chat)
        answer = await gather(response)

    assert answer.text == "Mine. Still mine."
    assert len((await visitor.messages(chat))["messages"]) == 2


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "1e3", " 1", "٣", "0x10", "9" * 40, ""])
async def test_a_cursor_that_is_none_does_no_harm(visitor: Visitor, cursor: str) -> None:
    chat = new_id()
    await visitor.ask(chat, "Hello.")

    asked = await visitor.http.get(f"{visitor.prefix}/replay", params={"id": chat, "from": cursor})
    assert asked.status_code == 400

    # EventSource has no way to correct itself: what it cannot have meant is passed over.
    told = await visitor.http.get(
        f"{visitor.prefix}/replay", params={"id": chat}, headers={b"Last-Event-ID": cursor.strip().encode()}
    )
    assert told.status_code in (200, 204, 400)


async def test_a_cursor_beyond_the_end_finds_nothing_more(visitor: Visitor) -> None:
    chat = new_id()
    answer = await visitor.ask(chat, "Hello.")

    assert await visitor.replay(chat, start=answer.cursor + 1_000_000) is None


async def test_of_two_starts_at_once_one_wins_and_the_other_is_told_who(visitor: Visitor) -> None:
    await visitor.ask(new_id(), "Hello.")
    chat = new_id()
    all_answered = asyncio.Barrier(STARTS)

    async def start() -> tuple[int, str | None, str]:
        async with visitor.starting(chat, {"gate": chat}, "One answer.") as response:
            # Who comes when the answer is over starts another one.
            await all_answered.wait()
            if response.status_code == 200:
                told = await visitor.http.post(visitor.prefix, json=visitor.body(chat, "Late."))
                assert told.status_code == 409
                await visitor.open_gate(chat)
                return 200, response.headers["X-Generation-Id"], (await gather(response)).text
            text = (await response.aread()).decode()
            return response.status_code, response.headers.get("X-Generation-Id"), text

    outcomes = await asyncio.gather(*(start() for _ in range(STARTS)))

    won = [outcome for outcome in outcomes if outcome[0] == 200]
    assert [text for _, _, text in won] == ["One answer."]
    assert {status for status, _, _ in outcomes if status != 200} == {409}
    assert {generation for _, generation, _ in outcomes} == {won[0][1]}
    assert len((await visitor.messages(chat))["messages"]) == 2


async def test_a_stop_for_another_generation_stops_nothing(visitor: Visitor) -> None:
    chat = new_id()
    async with visitor.starting(chat, "On ", {"gate": chat}, "and on.") as response:
        await expect(response, 200)
        await visitor.gate_reached(chat)

        assert (await visitor.stop(chat, generation="another")).status_code == 409
        assert (await visitor.stop(chat, generation=5)).status_code == 400

        await visitor.open_gate(chat)
        assert (await gather(response)).text == "On and on."


async def test_a_late_stop_does_not_reach_the_next_turn(visitor: Visitor) -> None:
    chat = new_id()
    async with visitor.starting(chat, "First.") as response:
        first = response.headers["X-Generation-Id"]
        await gather(response)
    async with visitor.starting(chat, "Second", {"gate": chat}, ".") as response:
        await visitor.gate_reached(chat)

        assert (await visitor.stop(chat, generation=first)).status_code == 409

        await visitor.open_gate(chat)
        assert (await gather(response)).text == "Second."


async def test_lone_surrogates_in_a_message_are_stored_and_given_back(visitor: Visitor) -> None:
    chat = new_id()
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": '["Hello."]'}], "metadata": "\ud800"}
    # Escaped, as JavaScript's JSON.stringify writes it.
    assert await post(visitor, json.dumps({"id": chat, "messages": [message]})) == 200

    roles = [message["role"] for message in (await visitor.messages(chat))["messages"]]
    assert roles == ["user", "assistant"]


async def test_a_reader_that_never_reads_costs_nobody_anything(visitor: Visitor, server: Server) -> None:
    await visitor.ask(new_id(), "Hello.")
    chat, times, text = new_id(), 400, "x" * 50_000
    process = psutil.Process(server.pid)
    async with visitor.starting(chat, {"gate": chat}, {"repeat": text, "times": times}, "The end.") as response:
        await visitor.gate_reached(chat)
        before = process.memory_info().rss
        stalled = [stalled_reader(visitor, server, chat) for _ in range(STALLED_READERS)]
        try:
            await visitor.open_gate(chat)
            answer = await gather(response)
            grown = process.memory_info().rss - before
        finally:
            for connection in stalled:
                connection.close()

    assert answer.complete
    assert answer.text == text * times + "The end."
    # daphne keeps whatever it is sent in memory, and gives an application no way to notice.
    if "uvicorn" in process.cmdline():
        assert grown < STALLED_READERS * len(answer.text) / 2


def stalled_reader(visitor: Visitor, server: Server, chat: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items())
    request = f"GET {visitor.prefix}/{chat}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n\r\n"
    connection.sendall(request.encode())
    # From here on it has its place at the answer; it takes nothing of that.
    begun = b"HTTP/1.1 200"
    connection.settimeout(PATIENCE_SECONDS)
    assert connection.recv(len(begun), socket.MSG_WAITALL) == begun
    return connection


BODY_PART = b"x" * 65_536
BODY_PARTS = 1_600
"""100 MB in all."""


async def test_event_stream_consumer_keeps_nothing_of_a_large_body(server: Server, visitor: Visitor) -> None:
    process = psutil.Process(server.pid)
    await visitor.http.get(f"/channels/chat/replay?id={new_id()}")
    before = process.memory_info().rss

    async def body() -> Any:
        for _ in range(BODY_PARTS):
            yield BODY_PART

    status = 413
    # The server may close the connection in the middle of the body.
    with suppress(httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
        path = f"/channels/chat/replay?id={new_id()}"
        status = (await visitor.http.request("GET", path, content=body())).status_code

    assert status == 413
    # daphne itself keeps a body until it is whole.
    if "uvicorn" in process.cmdline():
        assert process.memory_info().rss - before < len(BODY_PART) * BODY_PARTS / 4
    assert (await visitor.http.get(f"/channels/chat/replay?id={new_id()}")).status_code == 204
