"""What a request brings to the log, so that the log's chat is the page's.

A request of a page that goes on from the generation before it begins with that one's messages. This is seen by their
number and hash, and then nothing but that generation is read. Otherwise the whole chat is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from ..formats.base import ChatRequest, StoredGeneration
from ..formats.conversation import Conversation
from ..formats.differences import Brought, compare
from ..formats.unnamed import name_by_content
from ..protocol.head import Head
from ..protocol.layout import Begin
from ..readers.history import fold_history, read_generations
from ..runtime import runtime
from ..types import Message
from ..utils.log_once import survive
from ..utils.off_loop import off_loop, size_of
from .engine import ChatEngine

logger = logging.getLogger(__name__)


async def bring(chat: ChatEngine, stream_name: str, asked: ChatRequest, *, takes_history: bool) -> Brought:
    """Choose what to store of a request: what its page has and the log has not.

    Without ``takes_history`` it is the newest message alone, or the answer that is to be continued.
    """
    if not (takes_history and chat.mode == "session"):
        asked = replace(asked, is_history=False, is_unnamed=False, deleted=frozenset())
    newest = _newest(asked)
    is_asked_by_person = bool(newest) and newest[-1]["role"] == "user"
    asked = replace(asked, is_unnamed=asked.is_unnamed and is_asked_by_person)
    if not (asked.is_history or asked.is_unnamed):
        if not asked.deleted and (not newest or is_asked_by_person):
            return Brought(messages=newest)
        # What is said to be an answer of ours is compared with the log in any case.
        asked = replace(asked, messages=newest or asked.messages[-1:])
    page = await off_loop(size_of(asked.messages), digest, asked.messages, is_unnamed=asked.is_unnamed)
    head = await chat.head(stream_name)
    brought = await _compared(chat, stream_name, head, asked)
    token = head.token.text if head is not None else ""
    return replace(brought, page=page if asked.is_history or asked.is_unnamed else "", token=token)


def _newest(asked: ChatRequest) -> list[Message]:
    """Return what the request says, or the message that its answer is to continue."""
    if asked.message_id is not None:
        return [message for message in asked.messages if message["id"] == asked.message_id][-1:]
    return [message for message in asked.messages[-1:] if message["role"] == "user"]


async def _compared(chat: ChatEngine, stream_name: str, head: Head | None, asked: ChatRequest) -> Brought:
    if head is None or head.tail == 0:
        return await _compare(chat, [], asked)
    begin = head.begin
    if begin is not None and head.end is not None and not asked.deleted and await _goes_on_from(begin, asked):
        if asked.is_unnamed:
            # Nothing but the answer stands between what was asked then and what is asked now.
            return Brought(messages=_newest(asked))
        generations = (await read_generations(chat.backend, stream_name, start=head.start, count=1)).generations
        known = await _after(chat, asked.messages[: _count(begin.page)], generations)
        brought = await _compare(chat, known, asked)
        # Results that come as messages may be for any call of the chat, also for one that only the client tells of.
        if not (brought.history or any(message["role"] == "tool" for message in brought.messages)):
            return brought
        # The page is not what was stored of it.
    async with runtime().loads.large(stream_name) as reading:
        generations = (await chat.history(stream_name, reading)).generations
        # With what an unfinished answer has so far, which the page may show.
        known = await fold_history(chat.format, generations, with_running=True)
        told = {message_id for one in generations for message_id in one.told}
        del generations
        if asked.is_unnamed:
            asked = await off_loop(size_of(known), name_by_content, known, asked) if known else asked
        return await _compare(chat, known, asked, told=told)


async def _compare(
    chat: ChatEngine, known: Sequence[Message], asked: ChatRequest, *, told: Collection[str] = ()
) -> Brought:
    newest = Brought(messages=_newest(asked))
    # What is compared is of the request's size: each message of the log is looked at once, by its id.
    return await off_loop(
        size_of(asked.messages),
        lambda: survive(
            lambda: compare(chat.format, known, asked, told=told), newest, logger, "cannot compare page and chat"
        ),
    )


async def _after(
    chat: ChatEngine, messages: Sequence[Message], generations: Sequence[StoredGeneration]
) -> list[Message]:
    """Return the chat of which ``messages`` and the answer of its last generation are known."""
    conversation = Conversation()
    for message in messages:
        conversation.place_answer(message)
    for message in await fold_history(chat.format, generations):
        if message["role"] != "user":
            conversation.place_answer(message)
    return conversation.messages()


def digest(messages: Sequence[Message], *, is_unnamed: bool = False) -> str:
    """Return the number of messages and a hash of what they say, without the ids that were made up."""
    if is_unnamed:
        messages = [{name: value for name, value in message.items() if name != "id"} for message in messages]
    text = json.dumps(messages, sort_keys=True, separators=(",", ":"))
    hashed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
    return f"{len(messages)}.{base64.urlsafe_b64encode(hashed).decode()}"


def _count(page: str) -> int:
    count = page.partition(".")[0]
    return int(count) if count.isascii() and count.isdigit() and len(count) < 10 else 0


async def _goes_on_from(begin: Begin, asked: ChatRequest) -> bool:
    count = _count(begin.page)
    if not 0 < count <= len(asked.messages):
        return False
    earlier = asked.messages[:count]
    if asked.is_unnamed and any(message["role"] == "user" for message in asked.messages[count:-1]):
        return False
    return await off_loop(size_of(earlier), digest, earlier, is_unnamed=asked.is_unnamed) == begin.page


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHistory:
    """The chat of a turn as its log has it, read when somebody asks."""

    chat: ChatEngine
    stream_name: str
    generation: StoredGeneration
    """The turn's own, as far as it is known before its answer."""

    async def messages(self) -> list[Message]:
        """Read the chat up to the turn's answer, without answers that only the client tells of."""
        mine = self.generation.generation_id
        async with runtime().loads.large(self.stream_name) as reading:
            history = await self.chat.history(self.stream_name, reading)
            known = [*takewhile(lambda one: one.generation_id != mine, history.generations), self.generation]
            told = {message_id for one in known for message_id in one.told}
            messages = await fold_history(self.chat.format, known)
        return [message for message in messages if message["id"] not in told or message["role"] == "user"]
