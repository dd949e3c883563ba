"""Which subprotocol a socket speaks, and sockets by way of Channels' own communicators."""

from __future__ import annotations

from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.core.exceptions import ImproperlyConfigured

from resumable_stream.consumers import StreamConsumer
from resumable_stream.websockets.subprotocols import aisdk
from resumable_stream.websockets.subprotocols.aisdk import AISDKDialect
from resumable_stream.websockets.subprotocols.base import Subscribe, SubscriptionEnd
from resumable_stream.websockets.subprotocols.native import StreamDialect

from ..support.logs import FaultyLog
from ..support.producers import Producer
from ..support.sockets import Socket, chunks_of
from ..support.virtual_time import in_virtual_time, settle
from .chats import CHAT, QUESTION, SDK_CHAT, Chat, SDKChat, ask, send, use_settings

pytestmark = pytest.mark.usefixtures("fresh_chats")


# -- other dialects ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["path", "subprotocol"])
@in_virtual_time
async def test_the_ai_sdks_transport_is_answered_in_its_own_words(log: FaultyLog, way: str) -> None:
    by_path = StreamConsumer.as_asgi(view=SDKChat, dialects=[AISDKDialect])
    asked_for = () if way == "path" else ("unknown", "ai-sdk-chat")
    async with Socket(by_path if way == "path" else SDK_CHAT, subprotocols=asked_for) as socket:
        assert socket.subprotocol == (None if way == "path" else "ai-sdk-chat")
        socket.send(send("r1"))
        heard = await socket.hear_until("end")
        assert heard[0] == {"type": "start", "requestId": "r1"}
        assert [frame["sequence"] for frame in heard[1:-1]] == list(range(len(heard) - 2))
        assert heard[1]["chunk"]["type"] == "start"
        assert heard[-2]["chunk"] == {"type": "finish"}
        # The client may have been away when the answer ended.
        socket.send({"type": "resume", "requestId": "r2", "id": "c1", "headers": {}, "body": {}})
        again = await socket.hear_until("end")
        assert [frame.get("chunk") for frame in again] == [frame.get("chunk") for frame in heard]
        socket.send({"type": "resume", "requestId": "r3", "id": "c2", "headers": {}, "body": {}})
        assert await socket.hear() == {"type": "no-active", "requestId": "r3"}


@in_virtual_time
async def test_two_requests_for_one_chat_are_served_side_by_side_and_an_abort_only_leaves(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    async with Socket(SDK_CHAT, subprotocols=("ai-sdk-chat",)) as socket:
        socket.send(send("r1"))
        await socket.hear_until(lambda frame: frame.get("chunk", {}).get("delta") == "one")
        socket.send({"type": "resume", "requestId": "r2", "id": "c1", "headers": {}, "body": {}})
        await socket.hear_until(lambda frame: frame["requestId"] == "r2" and frame.get("sequence") == 2)
        socket.send({"type": "abort", "requestId": "r1"})
        await settle()
        producer.give("two")
        producer.finish()
        heard = await socket.hear_until("end")
        assert {frame["requestId"] for frame in heard} == {"r2"}
    assert log.ends("chat/consumers/ann/c1") == ["finished"]


@in_virtual_time
async def test_our_own_dialect_is_named_if_it_was_asked_for(log: FaultyLog) -> None:
    async with Socket(CHAT, subprotocols=("resumable-stream.v1",)) as socket:
        assert socket.subprotocol == "resumable-stream.v1"
    async with Socket(CHAT, subprotocols=("something.else",)) as socket:
        assert socket.subprotocol is None


@in_virtual_time
async def test_a_dialect_whose_clients_do_not_know_the_format_is_not_spoken(log: FaultyLog) -> None:
    assert aisdk.AISDKDialect.formats == {"aisdk"}
    socket = Socket(StreamConsumer.as_asgi(view=Chat, dialects=[AISDKDialect]))

    assert not await socket.connect()
    assert socket.close_code == 4403
    await socket.disconnect()


class JoiningDialect(StreamDialect):
    """Follows what the URL names, and closes after it."""

    def opening(self, query: Any) -> Any:
        return [Subscribe(key=query["join"], chat_id=query["join"])]

    def close_code(self, key: str, end: SubscriptionEnd) -> int:
        return 1000


@in_virtual_time
async def test_a_dialect_may_begin_with_the_url_and_close_after_an_end(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    joining = StreamConsumer.as_asgi(view=Chat, dialects=[JoiningDialect])
    async with Socket(CHAT) as writer, Socket(joining, path="/socket?join=c1") as socket:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        async with Socket(joining, path="/socket?join=c1") as late:
            assert chunks_of(await late.hear_until("chunk")) == ["one"]
            producer.finish()
            await late.hear_until("end")
            assert await late.hear_close() == 1000
        assert await socket.hear_close() == 1000


# -- over Channels' own communicators ------------------------------------------------------------------------------

# They wait for no more than a second, which has to be one of virtual time.


@in_virtual_time
async def test_channels_communicator_follows_an_answer(log: FaultyLog) -> None:
    communicator = WebsocketCommunicator(CHAT, "/socket")
    assert await communicator.connect() == (True, None)
    await communicator.send_json_to({"type": "start", "stream": "c1", "body": QUESTION})
    heard = [await communicator.receive_json_from()]
    while heard[-1]["type"] != "end":
        heard.append(await communicator.receive_json_from())
    await communicator.disconnect()

    assert chunks_of(heard) == ["Hello", " world"]


async def test_the_chat_of_the_setting_is_served_where_no_view_is_named(log: FaultyLog, settings: Any) -> None:
    use_settings(settings, CHAT_VIEW=f"{Chat.__module__}.Chat")
    async with Socket(StreamConsumer.as_asgi()) as socket:
        assert chunks_of(await ask(socket)) == ["Hello", " world"]


@in_virtual_time
async def test_without_any_view_the_server_is_told_what_is_missing(log: FaultyLog) -> None:
    communicator = WebsocketCommunicator(StreamConsumer.as_asgi(), "/socket")
    with pytest.raises(ImproperlyConfigured, match="CHAT_VIEW"):
        await communicator.connect()
