"""Chats as their clients load them: a page of messages as encoded JSON, made once for all who ask at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..exceptions import StreamNotFoundError
from ..formats.base import ChunkFormat, StoredGeneration
from ..formats.jsontext import decode, encode
from ..formats.outgoing import encode_list, encode_object
from ..readers.history import History, fold_now
from ..readers.pages import Page, Wanted, page_of
from ..readers.plans import run_id_of
from ..readers.sharing import Outcome
from ..runtime import runtime
from ..types import Message
from ..utils.off_loop import off_loop
from .engine import ChatEngine

Form = Callable[[ChunkFormat, History, Wanted], bytes]
"""Folds, cuts and encodes a chat for one kind of client; called in a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPage:
    """A part of a chat, with what there is to follow."""

    messages: Sequence[Message]
    earlier: str | None
    """The ``before`` that gives the messages before these; ``None`` if there are none."""
    running: StoredGeneration | None
    """The generation that is being written; its answer is not among the messages."""
    cursor: int
    """From where a reader gets what is not among the messages."""


async def read_page(chat: ChatEngine, stream_name: str, wanted: Wanted) -> ChatPage:
    """Read a part of a chat; raises as :func:`load`."""
    async with runtime().loads.large(stream_name) as reading:
        history = await chat.history(stream_name, reading)
        page = await off_loop(reading.size, _page, chat.format, history, wanted)
    running = history.generations[-1] if history.is_running else None
    return ChatPage(messages=page.messages, earlier=page.cursor, running=running, cursor=history.cursor)


def _page(format_: ChunkFormat, history: History, wanted: Wanted) -> Page:
    return page_of(format_, fold_now(format_, history.generations), wanted)


async def load(chat: ChatEngine, stream_name: str, wanted: Wanted, form: Form) -> bytes:
    """Read a chat and return it in ``form``.

    Raises:
        InvalidRequestError: ``wanted`` names a message that the chat has not.
        BackendUnavailableError: The log cannot be reached.
        RecordsMissingError: The log has a hole.
    """
    loads = runtime().loads

    async def make() -> Outcome[bytes]:
        async with loads.large(stream_name) as reading:
            history = await chat.history(stream_name, reading)
            content = await off_loop(reading.size, form, chat.format, history, wanted)
            return Outcome(value=content, tail=history.tail)

    async def tail() -> int:
        try:
            return (await chat.backend.tail(stream_name)).seq_num
        except StreamNotFoundError:
            return 0

    # The format lives as long as the work, so nothing else can have its id meanwhile.
    key = (form, chat.backend.alias, stream_name, id(chat.format), wanted)
    return await loads.shared.share(key, make, tail)


def chat_as_json(format_: ChunkFormat, history: History, wanted: Wanted) -> bytes:
    """Encode a page with how its generations ended, and the cursor from which the rest of the chat is followed."""
    page = _page(format_, history, wanted)
    ends = [
        {
            "generation": one.generation_id,
            "message": one.message_id,
            "run": one.run_id,
            "end": one.end.value if one.end is not None else None,
        }
        for one in _generations_of(page, history, is_newest=wanted.before is None)
    ]
    return _encoded(page, {"generations": encode(ends), "cursor": str(history.cursor)})


def runs_as_json(format_: ChunkFormat, history: History, wanted: Wanted) -> bytes:
    """Encode a page with the run that goes on, and what the newest one waits for."""
    page = _page(format_, history, wanted)
    # Both of one reading: what is in the messages has ended, and what has not is named.
    newest = history.generations[-1] if history.generations else None
    return _encoded(page, {"activeRun": encode(_active_run(newest)), "interrupts": encode(_interrupts(newest))})


def _encoded(page: Page, fields: dict[str, str]) -> bytes:
    return encode_object({"messages": encode_list(page.messages), **fields, "page": encode(page.described())})


def _generations_of(page: Page, history: History, *, is_newest: bool) -> Sequence[StoredGeneration]:
    """Return the generations that have to do with a page; the newest page has the newest one in any case."""
    if is_newest and page.cursor is None:
        return history.generations
    shown = {message.get("id") for message in page.messages}
    newest = history.generations[-1] if is_newest else None
    return [one for one in history.generations if one is newest or one.message_id in shown or _asks(one) in shown]


def _asks(generation: StoredGeneration) -> Any:
    """Return the id of the message that a generation answers."""
    last: Message = generation.user_messages[-1] if generation.user_messages else {}
    return last.get("id")


def _active_run(newest: StoredGeneration | None) -> dict[str, str] | None:
    if newest is None or newest.end is not None:
        return None
    run_id = run_id_of(newest)
    return {"runId": run_id} if run_id else None


def _interrupts(newest: StoredGeneration | None) -> dict[str, Any] | None:
    """Return what the newest run waits for, if it has ended to be resumed with people's answers."""
    if newest is None or newest.end is None or not newest.chunks:
        return None
    try:
        last = decode(newest.chunks[-1])
    except (ValueError, TypeError):
        # Another program's record.
        return None
    outcome = last.get("outcome") if isinstance(last, dict) else None
    if not isinstance(outcome, dict) or outcome.get("type") != "interrupt":
        return None
    return {"runId": run_id_of(newest), "pending": outcome.get("interrupts", [])}
