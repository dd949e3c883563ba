"""Rendered fragments, for htmx 2 with its SSE extension and for htmx 4.

The log holds an answer's parts and pieces of text; what a client gets is rendered from each chunk by itself, through
templates, and swaps itself into the page by element ids (``hx-swap-oob``). So a fragment means the same to every
reader, is rendered once for all of them, and costs what its piece costs.

The first fragment empties the answer's element and the last one renders the whole answer. A reader that comes again
without a cursor, as htmx 2 does after an error status, therefore ends with the right page, and so does one that got the
end alone. What stands on the page then is what the same templates make of the folded message after a reload.

Models are not trusted: templates escape what they say, and pieces of text are escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from django.template.loader import render_to_string
from django.utils.html import escape

from ...types import EndReason, Message
from ..base import ChatRequest, ChunkFormat, Dialect, GenerationFacts, StoredGeneration
from ..conversation import place_generations
from ..jsontext import encode
from ..text.request import parse_request
from .encoder import HTMLAnswer, HTMLEncoder, clean, read_chunk

END_EVENT = "end"


class HTMLFormat(ChunkFormat):
    """Fragments for htmx, of templates that a project overrides as any app's, or by :meth:`render`.

    ``answer.html`` makes what stands in the element ``answer-ID``, with an element ``answer-ID-parts`` for what
    ``part.html`` makes of each part; pieces of text go to an element ``answer-ID-INDEX`` there. ``message.html`` makes
    the element itself, or a user's message, of a ``message`` as :meth:`fold` gives it, and ``turn.html`` what a form is
    answered with.
    """

    name: ClassVar[str] = "html"
    dialect: ClassVar[Dialect] = Dialect(takes_forms=True, reads_with_event_source=True, replays_what_is_over=True)

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """Render one of the templates: ``answer``, ``part`` or ``turn``."""
        return render_to_string(f"resumable_stream/{template}.html", dict(context))

    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read a form's or a JSON object's ``id`` and ``message``, or ``messages``."""
        asked = parse_request(body)
        return replace(asked, messages=[clean(message) for message in asked.messages])

    def encoder(self, facts: GenerationFacts) -> HTMLEncoder:
        """Make the encoder of one generation."""
        return HTMLEncoder(facts)

    def data(self, chunk: str) -> str:
        """Render the fragment of one chunk; nothing for what is none of ours."""
        read = read_chunk(chunk)
        if read is None:
            return ""
        element = f"answer-{read['id']}"
        match read["type"]:
            case "delta":
                return _swap("beforeend", f"{element}-{read['index']}", escape(read["delta"]))
            case "part":
                context = {"message": {"id": read["id"]}, "part": read["part"], "index": read["index"]}
                return _swap("beforeend", f"{element}-parts", self.render("part", context))
            case _:
                return _swap("innerHTML", element, self.render("answer", {"message": HTMLAnswer.of(read).message()}))

    def end_event(self, reason: EndReason, text: str | None, cause: str | None = None) -> tuple[str, str] | None:
        """Say that the answer is over, for ``sse-close="end"``; the page has been told how by the last fragment."""
        return END_EVENT, encode({"reason": reason.value, **({"cause": cause} if cause else {})})

    def nothing_left(self) -> tuple[str, str] | None:
        """Say it again: htmx takes an empty answer for an error, and asks for ever."""
        return END_EVENT, "{}"

    def render_turn(self, user_messages: Sequence[Message], message_id: str, url: str) -> str:
        """Render what a form is answered with: the user's messages, and an element that follows ``url``."""
        answer = HTMLAnswer(message_id).message()
        return self.render("turn", {"user_messages": user_messages, "answer": answer, "url": url})

    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        """Fold what is stored into ``{id, role, content}``; answers also have ``parts``, ``end`` and ``error``."""
        return place_generations(generations, self.fold_answer)

    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        """Fold one generation's parts."""
        answer: HTMLAnswer | None = None
        for chunk in generation.chunks:
            read = read_chunk(chunk)
            if read is not None:
                answer = answer or HTMLAnswer(read["id"])
                answer.note(read)
        return answer.message() if answer is not None else None


def _swap(style: str, element: str, content: str) -> str:
    return f'<div hx-swap-oob="{style}:#{element}">{content}</div>'
