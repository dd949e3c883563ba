"""Answers whose owner process has fallen silent: find them, and end them as interrupted."""

from __future__ import annotations

import logging

from ..generations.generation import INTERRUPTED_TEXT
from ..protocol.ending import interrupt
from ..protocol.head import Head, find_head
from ..protocol.head import is_abandoned as has_fallen_silent
from ..protocol.perform import perform
from ..runtime import runtime
from .chat_stream import ChatStream

logger = logging.getLogger(__name__)


async def look_after(stream: ChatStream) -> bool:
    """End the generation of an owner that has fallen silent; return whether one runs."""
    head = await perform(find_head(), stream.backend, stream.name)
    if head is None or not is_abandoned(stream, head):
        return head is not None and head.is_running
    return await runtime().registry.carry_through(_interrupt(stream, head))


async def end_if_abandoned(stream: ChatStream, head: Head) -> bool:
    """End the generation of an owner that ``head`` shows to have been silent for too long; return whether it did.

    After a failure, the follow of the stream tries again when it next looks after the silent owner.
    """
    if not is_abandoned(stream, head):
        return False
    try:
        return not await runtime().registry.carry_through(_interrupt(stream, head))
    except Exception:  # the log's, or an app's own format; a reader gets what there is
        logger.exception("abandoned generation could not be ended stream=%s", stream.name)
        return False


def is_abandoned(stream: ChatStream, head: Head) -> bool:
    """Return whether ``head`` shows a generation whose owner has been silent for too long."""
    # What is written here: this process stood still, or the log is slow to take the heartbeat.
    return (
        head.is_running
        and not _is_written_here(stream, head)
        and has_fallen_silent(head, mode="session", resolution_ms=stream.backend.server_time_resolution)
    )


def _is_written_here(stream: ChatStream, head: Head) -> bool:
    generation = runtime().registry.get(stream.backend, stream.name)
    return generation is not None and generation.id == head.token.generation_id


async def _interrupt(stream: ChatStream, head: Head) -> bool:
    """End what ``head`` shows to be abandoned; return whether something still runs."""
    operation = interrupt(head, stream.encoder_for, text=INTERRUPTED_TEXT)
    ended = await perform(operation, stream.backend, stream.name)
    if ended is not None:
        # In a task of its own: the end closes the readers, and with the last of them the caller; none waits for a hook.
        runtime().registry.keep(stream.ends.notify_foreign(stream.backend, stream.name, ended))
    return ended is None
