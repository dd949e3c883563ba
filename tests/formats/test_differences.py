"""What a request brings to the log, for any chat of the log and any page that grew out of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.formats import get_format
from resumable_stream.formats.base import ChatRequest, StoredGeneration
from resumable_stream.formats.differences import compare
from resumable_stream.types import EndReason, Message

TEXT = get_format("text")


def said(message_id: str, role: str, text: str = "") -> Message:
    return {"id": message_id, "role": role, "content": text or message_id}


@st.composite
def chats(draw: st.DrawFn) -> tuple[list[Message], list[Message]]:
    """Make a chat of the log, and a page that has lost some of it and got something of its own."""
    roles = draw(st.lists(st.sampled_from(["user", "assistant"]), max_size=8))
    known = [said(f"k{at}", role) for at, role in enumerate(roles)]
    page: list[Message] = []
    for message in known:
        page += draw(st.lists(st.builds(said, st.uuids().map(str), st.sampled_from(["user", "assistant"])), max_size=1))
        fate = draw(st.sampled_from(["shown", "shown", "changed", "missing"]))
        if fate != "missing":
            page.append({**message, "content": "changed"} if fate == "changed" else message)
    page.append(said("newest", "user"))
    return known, page


def ids(messages: list[Message]) -> list[str]:
    return [message["id"] for message in messages]


def stored(known: list[Message], page: list[Message], **more: Any) -> list[Message]:
    """Return the log's chat after a request of the page."""
    brought = compare(TEXT, known, ChatRequest(chat_id="c", messages=page, **more))
    earlier = StoredGeneration(generation_id="g0", user_messages=known, end=EndReason.FINISHED)
    later = brought.stored("g1", "m1")
    return TEXT.fold([later] if later.is_whole else [earlier, later])


@given(chats())
def test_the_logs_chat_becomes_the_pages(chat: tuple[list[Message], list[Message]]) -> None:
    known, page = chat
    after = stored(known, page)

    shown = [message_id for message_id in ids(after) if message_id in ids(page)]
    assert shown == ids(page)
    by_id = {message["id"]: message for message in after}
    for message in page:
        # People's messages are as the page has them; answers of the log as the log has them.
        is_logs = message["role"] == "assistant" and message["id"] in ids(known)
        assert by_id[message["id"]]["content"] == (message["id"] if is_logs else message["content"])


@given(chats())
def test_what_the_page_has_deleted_is_gone_and_nothing_else(chat: tuple[list[Message], list[Message]]) -> None:
    known, page = chat
    places = [at for at, message in enumerate(known) if message["id"] in ids(page)]
    kept = known if not places else [*known[: places[0]], *known[places[-1] + 1 :]]

    after = ids(stored(known, page))
    assert set(ids(kept)) <= set(after)
    gone = {message["id"] for message in known} - set(ids(kept)) - set(ids(page))
    assert not gone & set(after)


@given(chats())
def test_a_page_that_is_stored_brings_only_what_is_new(chat: tuple[list[Message], list[Message]]) -> None:
    known, page = chat
    after = stored(known, page)
    again = compare(TEXT, after, ChatRequest(chat_id="c", messages=[*after, said("later", "user")]))

    assert (again.history, ids(again.messages), again.told) == ([], ["later"], frozenset())


def test_what_only_the_client_tells_of_is_marked_again_where_the_chat_is_stored_anew() -> None:
    known = [said("greeting", "assistant"), *(said(f"u{at}", "user") for at in range(3))]
    page = [known[0], known[1], known[3], said("newest", "user")]

    brought = compare(TEXT, known, ChatRequest(chat_id="c", messages=page), told={"greeting"})

    assert ids(brought.history) == ["greeting", "u0", "u2"]
    assert brought.told == {"greeting"}
