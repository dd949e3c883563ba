"""The AG-UI protocol, for ``HttpAgent`` of the npm package ``@ag-ui/client`` and for what is built on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...types import Message
from ..base import ChatRequest, ChunkFormat, GenerationFacts, StoredGeneration
from ..outgoing import encode_list
from .answers import admitted
from .encoder import AGUIEncoder
from .fold import fold_answer, fold_generations
from .request import parse_request


class AGUIFormat(ChunkFormat):
    """AG-UI events, which clients make messages with ``content`` of.

    A client brings its own messages along and adds what it is streamed: what the user says is stored, not streamed.
    """

    name: ClassVar[str] = "agui"

    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read ``RunAgentInput``, see :mod:`.agui_request`."""
        return parse_request(body)

    def encoder(self, facts: GenerationFacts) -> AGUIEncoder:
        """Make the encoder of one generation."""
        return AGUIEncoder(facts)

    def admitted(self, told: Sequence[Message], chat: Sequence[Message]) -> Sequence[Message]:
        """Leave out results of calls that do not wait for one."""
        return admitted(told, chat)

    def snapshot(self, messages: Sequence[Message]) -> str:
        """Return the event that takes the place of all of a client's messages."""
        return f'{{"type":"MESSAGES_SNAPSHOT","messages":{encode_list(messages)}}}'

    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        """Fold what is stored into the messages that the client would hold."""
        return fold_generations(generations)

    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        """Fold one generation into its answer; of several messages, the last with a text or calls."""
        return fold_answer(generation)
