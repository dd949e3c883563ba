"""The AI SDK's UI message stream, for ``useChat`` of the npm package ``ai`` in its versions 5, 6 and 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...types import Message
from ..base import ChatRequest, ChunkFormat, Dialect, GenerationFacts, StoredGeneration
from ..conversation import answer_id, continued_message
from .answers import merge_answers
from .chunks import CHUNK_TYPES, NEWEST_VERSION, OLDEST_VERSION
from .encoder import AISDKEncoder
from .fold import fold_answers, fold_generations
from .rebuild import rebuild
from .request import parse_request


class AISDKFormat(ChunkFormat):
    """Chunks of the AI SDK, stored as they are.

    What is streamed suits the clients of all three versions. They differ in details of the messages that they make
    of it: ``client_version`` (5, 6 or 7) says whose messages :meth:`fold` gives. It defaults to the newest.
    """

    name: ClassVar[str] = "aisdk"
    headers: ClassVar[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}
    dialect: ClassVar[Dialect] = Dialect(makes_answers_anew=True)
    chunk_types: ClassVar[frozenset[str]] = CHUNK_TYPES
    """Chunks that producers may yield beside ``data-…``; of a type they do not know, clients would fail."""

    def __init__(self, *, client_version: int | None = None) -> None:
        if client_version is not None and not OLDEST_VERSION <= client_version <= NEWEST_VERSION:
            raise ValueError(f"client_version must be 5, 6 or 7, not {client_version!r}.")
        self._client_version = client_version

    @property
    def _fold_version(self) -> int:
        return self._client_version or NEWEST_VERSION

    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read a transport's body, see :mod:`.aisdk_request`."""
        return parse_request(body)

    def encoder(self, facts: GenerationFacts) -> AISDKEncoder:
        """Make the encoder of one generation."""
        return AISDKEncoder(
            message_id=facts.message_id,
            chunk_types=self.chunk_types,
            sdk_version=self._client_version or OLDEST_VERSION,
        )

    def merge_answers(self, known: Message, told: Message) -> Message:
        """Return ``known`` with the outputs and approvals that its waiting calls get in ``told``."""
        return merge_answers(known, told)

    def rebuild(self, message: Message) -> list[str]:
        """Return chunks from which a client makes ``message``."""
        return rebuild(message, version=self._client_version)

    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        """Fold what is stored into the UI messages that the client would hold."""
        return fold_generations(generations, version=self._fold_version)

    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        """Fold one generation into its UI message."""
        answers = fold_answers(
            generation,
            message_id=answer_id(generation),
            version=self._fold_version,
            continues=continued_message(generation.user_messages, generation.message_id),
        )
        return answers[-1] if answers else None
