"""One chat's stream as starts and stops see it: the log, the name, and what the engine says about its chats."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from django.core.exceptions import ImproperlyConfigured

from ..backends.base import BaseBackend
from ..formats import get_format
from ..formats.base import ChunkEncoder, ChunkFormat, GenerationFacts
from ..generations.arrivals import StreamKey
from ..protocol.layout import Begin, new_generation_id
from .on_end import EndNotifier
from .on_error import OnError

logger = logging.getLogger(__name__)

Mode = Literal["single-use", "shared", "session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatStream:
    """A stream of a :class:`~resumable_stream.chat.engine.ChatEngine`."""

    backend: BaseBackend
    name: str
    format: ChunkFormat
    mode: Mode
    on_error: OnError
    ends: EndNotifier

    @property
    def key(self) -> StreamKey:
        """Names the stream among those of all logs."""
        return self.backend.alias, self.name

    def encoder_for(self, begin: Begin | None) -> ChunkEncoder:
        """Make the encoder that ends somebody else's generation."""
        format_ = self.format
        if begin is not None and begin.format != self.format.name:
            try:
                format_ = get_format(begin.format)
            except ImproperlyConfigured:
                # A format of its own that this process does not know; ours ends it as well as can be.
                logger.warning("unknown format generation=%s format=%s", begin.generation_id, begin.format)
        generation_id = begin.generation_id if begin is not None else new_generation_id()
        message_id = begin.message_id if begin is not None else generation_id
        chat_id = begin.chat_id if begin is not None else ""
        run_id = (begin.run_id if begin is not None else "") or generation_id
        facts = GenerationFacts(
            generation_id=generation_id,
            message_id=message_id,
            chat_id=chat_id,
            run_id=run_id,
            protocol_version=begin.protocol_version if begin is not None else "",
        )
        return format_.encoder(facts)
