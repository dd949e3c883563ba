"""TanStack AI's chunks, which are AG-UI events, for ``useChat`` of its client packages.

Both of the library's ways work: live mode, where a subscription follows the chat from run to run, and resuming of the
library's own, where each run is a response that can be joined again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...types import Message
from ..base import ChatRequest, ChunkFormat, Dialect, GenerationFacts, StoredGeneration
from ..outgoing import encode_list
from .answers import merge_answers
from .encoder import TanStackEncoder
from .fold import StreamFold
from .request import parse_request


class TanStackFormat(ChunkFormat):
    """Chunks of TanStack AI, which its clients make ``UIMessage``s with ``parts`` of."""

    name: ClassVar[str] = "tanstack"
    dialect: ClassVar[Dialect] = Dialect(session_delivery="replay", holds_sessions_open=True, names_runs=True)

    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read a connection's body, see :mod:`.tanstack_request`."""
        return parse_request(body)

    def encoder(self, facts: GenerationFacts) -> TanStackEncoder:
        """Make the encoder of one generation."""
        return TanStackEncoder(facts)

    def merge_answers(self, known: Message, told: Message) -> Message:
        """Return ``known`` with the outputs and approvals that its waiting calls get in ``told``."""
        return merge_answers(known, told)

    def snapshot(self, messages: Sequence[Message]) -> str:
        """Return the one chunk that a first page load gets instead of the history's.

        Without ``createdAt``: older clients take its text for a date.
        """
        bare = ({name: value for name, value in message.items() if name != "createdAt"} for message in messages)
        return f'{{"type":"MESSAGES_SNAPSHOT","messages":{encode_list(bare)}}}'

    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        """Fold what is stored into the messages that the client would hold."""
        fold = StreamFold()
        for generation in generations:
            fold.take_generation(generation)
        return fold.settle()

    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        """Fold one generation into its answer; of several messages, the last that holds anything."""
        answers = [one for one in self.fold([generation]) if one["role"] == "assistant" and one["parts"]]
        return answers[-1] if answers else None
