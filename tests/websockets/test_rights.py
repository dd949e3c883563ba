"""Who may open a socket, and what its client may read and start there."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest

from resumable_stream.consumers import StreamConsumer
from resumable_stream.signals import refused

from ..support.logs import SECRET, FaultyLog, raising
from ..support.producers import Producer, of
from ..support.sockets import Message, Socket, chunks_of
from ..support.virtual_time import in_virtual_time, settle
from .chats import CHAT, QUESTION, SESSION_CHAT, Chat, SessionChat, ask, cookie, is_end, use_settings

pytestmark = pytest.mark.usefixtures("fresh_chats")


@in_virtual_time
async def test_what_is_not_the_clients_is_answered_like_what_does_not_exist(log: FaultyLog) -> None:
    Chat.forbidden = {("c1", "read"), ("c1", "start"), ("c1", "stop")}
    async with Socket(CHAT) as socket:
        for kind in ("subscribe", "start", "stop"):
            socket.say(kind, "c1", body=QUESTION)
            assert await socket.hear() == {
                "type": "error",
                "stream": "c1",
                "status": 404,
                "error": "There is no such chat.",
            }
        assert log.records("chat/consumers/ann/c1") == []


@in_virtual_time
async def test_a_reader_who_loses_the_right_is_ended_and_others_are_not(log: FaultyLog) -> None:
    Chat.sources |= {"c1": Producer("one"), "c2": Producer("one")}
    async with Socket(CHAT) as socket:
        for name in ("c1", "c2"):
            socket.say("start", name, body=QUESTION)
            await socket.hear_until("chunk")
        await asyncio.sleep(61)
        Chat.forbidden = {("c1", "read")}
        await asyncio.sleep(61)
        heard = await socket.hear_until("end")
        assert (heard[-1]["stream"], heard[-1]["reason"], heard[-1]["reconnect"]) == ("c1", "forbidden", False)
        Chat.sources["c1"].give("not told")
        Chat.sources["c2"].give("two")
        assert (await socket.hear())["chunk"] == "two"
    assert not Chat.sources["c1"].is_closed


@in_virtual_time
async def test_who_lost_the_right_while_not_reading_gets_nothing_more_of_it(log: FaultyLog) -> None:
    async with Socket(CHAT) as writer, Socket(CHAT, room=1) as sleeper:
        for name in ("c1", "c2"):
            Chat.sources[name] = of(*["x"] * 300)
            await ask(writer, name)
            sleeper.say("subscribe", name, **{"from": 0})
        await settle()
        Chat.forbidden = {("c1", "read"), ("c2", "read")}
        await asyncio.sleep(70)
        heard: list[Message] = []
        while len([frame for frame in heard if is_end(frame)]) < 2:
            heard.append(await sleeper.hear())

    assert {frame["reason"] for frame in heard if is_end(frame)} == {"forbidden"}
    # What the server had already, and no more.
    assert len(chunks_of(heard)) <= 2


@in_virtual_time
async def test_a_hook_that_breaks_costs_its_own_stream_only(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def authorize(self: Chat, request: HttpRequest, chat_id: str, action: str) -> bool:
        if chat_id == "bad":
            raise RuntimeError(SECRET)
        return True

    monkeypatch.setattr(Chat, "authorize", authorize)
    async with Socket(CHAT) as socket:
        socket.say("subscribe", "bad")
        error = await socket.hear()
        assert (error["type"], error["stream"], error["status"]) == ("error", "bad", 500)
        assert SECRET not in json.dumps(error)
        await ask(socket)
    assert SECRET in caplog.text


@in_virtual_time
async def test_where_rights_cannot_be_asked_for_readers_end_and_may_come_again(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    Chat.sources["c1"] = Producer("one")
    async with Socket(CHAT) as socket:
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("chunk")
        monkeypatch.setattr(Chat, "authorize", raising(RuntimeError("no database")))
        await asyncio.sleep(70)
        end = (await socket.hear_until("end"))[-1]
        assert (end["reason"], end["reconnect"]) == ("unavailable", True)


@pytest.mark.parametrize(
    ("origin", "allowed", "trusted", "is_open"),
    [
        (None, [], [], True),
        ("http://testserver", [], [], True),
        ("https://testserver", [], [], True),
        ("http://TESTSERVER", [], [], True),
        ("http://testserver:8000", [], [], False),
        ("http://evil.example", [], [], False),
        ("http://testserver.evil.example", [], [], False),
        ("null", [], [], False),
        ("", [], [], False),
        ("http://[", [], [], False),
        ("https://app.example.com", ["https://app.example.com"], [], True),
        ("http://app.example.com", ["https://app.example.com"], [], False),
        ("https://app.example.com", [], ["https://*.example.com"], True),
        ("https://example.com.evil", [], ["https://*.example.com"], False),
        ("http://evil.example", ["*"], [], True),
        ("http://evil.example", "*", [], True),
    ],
)
@in_virtual_time
async def test_pages_of_other_sites_open_no_socket(
    log: FaultyLog, settings: Any, origin: str | None, allowed: list[str] | str, trusted: list[str], is_open: bool
) -> None:
    use_settings(settings, ALLOWED_ORIGINS=allowed)
    settings.CSRF_TRUSTED_ORIGINS = trusted
    headers = {"host": "testserver"} | ({} if origin is None else {"origin": origin})
    socket = Socket(CHAT, headers=headers)

    assert await socket.connect() is is_open
    assert socket.close_code == (None if is_open else 1008)
    await socket.disconnect()


@pytest.mark.parametrize(
    ("scheme", "origin", "is_open"),
    [
        ("wss", "https://testserver", True),
        ("wss", "http://testserver", False),
        ("ws", "http://testserver", True),
        # A proxy that ends TLS, and does not tell of it.
        ("ws", "https://testserver", True),
        ("ws", "file://testserver", False),
    ],
)
@in_virtual_time
async def test_page_without_encryption_opens_no_socket_of_an_encrypted_site(
    log: FaultyLog, scheme: str, origin: str, is_open: bool
) -> None:
    headers = {"host": "testserver", "origin": origin}
    assert await Socket(CHAT, headers=headers, scheme=scheme).connect() is is_open


@in_virtual_time
async def test_control_characters_of_an_origin_are_escaped_in_the_log(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"host": "testserver", "origin": "http://evil.example"}
    socket = Socket(CHAT, headers=headers)
    socket.scope["headers"][-1] = (b"origin", b"http://evil.example\x85forged\x9b31m\n")

    assert not await socket.connect()

    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable()


@in_virtual_time
async def test_refusal_over_a_websocket_is_logged(log: FaultyLog, caplog: pytest.LogCaptureFixture) -> None:
    Chat.forbidden = {("c1", "read")}
    async with Socket(CHAT) as socket:
        socket.say("subscribe", "c1")
        assert (await socket.hear())["status"] == 404

    assert "refused status=404 key='c1'" in caplog.text


@in_virtual_time
async def test_refused_frames_and_subscriptions_are_logged(
    log: FaultyLog, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[str, int]] = []

    def hear(sender: type, action: str, error: Any, **_: Any) -> None:
        heard.append((action, error.status_code))

    refused.connect(hear)
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_SUBSCRIPTIONS_PER_SOCKET": 1}
    async with Socket(CHAT) as socket:
        socket.say("nonsense", "c1")
        assert (await socket.hear())["status"] == 400
        socket.say("subscribe", "c1", live=True)
        assert (await socket.hear())["type"] == "subscribed"
        for seconds in (0, 0, 2):
            await asyncio.sleep(seconds)
            socket.say("subscribe", "c2", live=True)
            assert (await socket.hear_until("error"))[-1]["status"] == 429
    refused.disconnect(hear)

    assert "refused status=400 key='c1'" in caplog.text
    # A client can ask for it as fast as it can send.
    assert caplog.text.count("refused status=429 key='c2'") == 2
    assert heard == [("read", 429), ("read", 429)]


@in_virtual_time
async def test_channels_own_validator_may_stand_before_ours(log: FaultyLog) -> None:
    application = AllowedHostsOriginValidator(CHAT)
    good = {"host": "testserver", "origin": "http://testserver"}

    assert await Socket(application, headers=good).connect()
    assert not await Socket(application, headers={**good, "origin": "http://evil.example"}).connect()


@in_virtual_time
async def test_a_visitor_without_a_session_is_told_to_load_a_page_first(log: FaultyLog, sessions: Any) -> None:
    async with Socket(SESSION_CHAT) as socket:
        socket.say("start", "c1", body=QUESTION)
        error = await socket.hear()
        assert (error["type"], error["status"]) == ("error", 403)
        assert "Load the page" in error["error"]
    assert log.appended == []


@in_virtual_time
async def test_a_visitor_with_a_session_gets_an_id_there_and_finds_the_chat_again(
    log: FaultyLog, sessions: Any
) -> None:
    session = sessions()
    await session.aset("anything", "else")
    await session.asave()
    for _ in range(2):
        async with Socket(SESSION_CHAT, headers=cookie(session.session_key)) as socket:
            assert (await ask(socket))[-1]["reason"] == "finished"

    kept = sessions(session.session_key)
    assert await kept.aget("anything") == "else"
    owner = await kept.aget("resumable_stream_owner")
    assert log.ends(f"chat/sessions/visitor-{owner}/c1") == ["finished"] * 2


@in_virtual_time
async def test_a_page_may_give_its_visitor_an_id(log: FaultyLog, sessions: Any) -> None:
    request = HttpRequest()
    request.session = sessions()
    await SessionChat().remember_visitor(request)
    owner = await request.session.aget("resumable_stream_owner")
    await SessionChat().remember_visitor(request)
    await request.session.asave()

    async with Socket(SESSION_CHAT, headers=cookie(cast("str", request.session.session_key))) as socket:
        await ask(socket)
    assert log.ends(f"chat/sessions/visitor-{owner}/c1") == ["finished"]


@in_virtual_time
async def test_who_has_become_somebody_else_reads_and_starts_nothing_more(log: FaultyLog, sessions: Any) -> None:
    Chat.sources["c1"] = Producer("one")
    session = sessions()
    await session.aset("resumable_stream_owner", "owner")
    await session.asave()
    async with Socket(SESSION_CHAT, headers=cookie(session.session_key)) as socket:
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("chunk")
        await session.aset("resumable_stream_owner", "another")
        await session.asave()
        await asyncio.sleep(2)
        socket.say("start", "c2", body=QUESTION)
        refused = await socket.hear()
        assert (refused["type"], refused["status"], refused["stream"]) == ("error", 403, "c2")
        await asyncio.sleep(65)
        assert (await socket.hear_until("end"))[-1]["reason"] == "forbidden"
        assert await socket.hear_close() == 4401


@in_virtual_time
async def test_a_visitor_who_signs_in_reads_to_the_end_and_then_opens_another_socket(
    log: FaultyLog, sessions: Any
) -> None:
    producer = Chat.sources["c1"] = Producer("one")
    session = sessions()
    await session.aset("resumable_stream_owner", "owner")
    await session.asave()
    async with Socket(SESSION_CHAT, headers=cookie(session.session_key)) as socket:
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("chunk")
        socket.say("subscribe", "c2", live=True)
        await socket.hear_until("caught_up")
        await session.acycle_key()  # As Django does at login.
        await asyncio.sleep(65)
        gone = (await socket.hear_until("end"))[-1]
        assert (gone["stream"], gone["reason"]) == ("c2", "shutdown")
        producer.give("two")
        producer.finish()
        assert (await socket.hear_until("end"))[-1]["reason"] == "finished"
        assert await socket.hear_close() == 1012


@in_virtual_time
async def test_a_user_comes_with_the_scope(log: FaultyLog) -> None:
    async with Socket(StreamConsumer.as_asgi(view=SessionChat), user=User(pk=7)) as socket:
        await ask(socket)
    assert log.ends("chat/sessions/user-7/c1") == ["finished"]


@in_virtual_time
async def test_without_any_middleware_the_reason_is_logged(log: FaultyLog, caplog: pytest.LogCaptureFixture) -> None:
    async with Socket(StreamConsumer.as_asgi(view=SessionChat), user=AnonymousUser()) as socket:
        socket.say("subscribe", "c1")
        assert (await socket.hear())["status"] == 500
    assert "AuthMiddlewareStack" in caplog.text
