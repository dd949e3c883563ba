"""Encode one generation as the AG-UI events that TanStack AI's clients make messages of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...types import EndReason, FinishReason, Message
from ..agui.encoder import AGUIEncoder
from ..agui.events import AGUIEvent
from ..agui.run import is_intermediate, stated_reason
from ..base import GenerationFacts
from ..producers.finishes import named_finish
from .messages import extras, to_ui_messages

_GO_TO_A_MESSAGE = frozenset(
    ("STEP_STARTED", "REASONING_MESSAGE_CONTENT", "REASONING_ENCRYPTED_VALUE", "TOOL_CALL_START", "CUSTOM")
)
# "tool-calls" is for the run that goes on, and clients have no word for the others.
_FINISH_REASONS = {"length": "length", "content-filter": "content_filter"}
# Events of the library's own that add to a message.
_MESSAGE_PARTS = ("structured-output.start", "structured-output.complete", "ui-resource")


class TanStackEncoder(AGUIEncoder):
    """Encodes one generation for TanStack AI.

    Its clients keep a message's text, reasoning and calls in the order in which they came, so that an answer is one
    message. Reasoning and calls go to the message that was begun last, be it of an earlier run: each answer therefore
    begins its message before anything else of it comes.
    """

    def __init__(self, facts: GenerationFacts) -> None:
        super().__init__(facts)
        self._begun: set[str] = set()
        """The assistant's messages that were begun."""
        self._unanswered: set[str] = set()
        """Calls without a result."""
        self._adopted = ""
        """The producer's own message whose place ours has taken."""

    def start(self) -> list[str]:
        """Begin the run, and tell other tabs what the user says."""
        chunks = super().start()
        for message in to_ui_messages(self.facts.user_messages):
            if message["role"] == "user":
                self._echo(message)
        return chunks + self.take()

    def _echo(self, message: Message) -> None:
        message_id = message["id"]
        self.run.send({"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "user"})
        if text := _last_text(message["parts"]):
            self.run.send({"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": text})
        self.run.send({"type": "TEXT_MESSAGE_END", "messageId": message_id})

    def note(self, event: AGUIEvent) -> None:
        """Take note of an event that is part of the run."""
        super().note(event)
        kind = event["type"]
        if kind == "TEXT_MESSAGE_START" and event.get("role", "assistant") == "assistant":
            self._begun.add(str(event.get("messageId")))
        elif kind == "TOOL_CALL_START":
            self._unanswered.add(str(event.get("toolCallId")))
            # From here on, text of the message is a part of its own.
            self.has_text = self.has_text and event.get("parentMessageId", self.message_id) != self.message_id
        elif kind == "TOOL_CALL_RESULT":
            self._unanswered.discard(str(event.get("toolCallId")))
        elif kind == "MESSAGES_SNAPSHOT":
            self._begun.clear()
            # It calls the producer's messages what the producer does.
            self._adopted = ""

    def enter(self, kind: str) -> None:
        """Prepare for something of our own; only text that reasoning has interrupted needs another message."""
        if kind == "reasoning" and self.has_text:
            self.next_message()
        if kind != "text":
            self._begin_message(self.message_id)

    def _begin_message(self, message_id: str) -> None:
        if message_id not in self._begun:
            self.run.send({"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant"})
            self.run.send({"type": "TEXT_MESSAGE_END", "messageId": message_id})

    def adapt(self, event: AGUIEvent) -> AGUIEvent:
        """Return the event as it is: TanStack AI's clients check no schemas."""
        return event

    def pass_on(self, event: AGUIEvent, text: str | None) -> None:
        """Send an event of the producer's own, to the message that it belongs to."""
        kind = event["type"]
        if kind.startswith("TEXT_MESSAGE_") and event.get("role", "assistant") == "assistant":
            self._adopt(event["messageId"])
        elif kind in _GO_TO_A_MESSAGE:
            self._begin_message_for(event)
        if kind == "REASONING_MESSAGE_CONTENT" and self.has_text:
            self.leave_part()
            self.next_message()
        adopted = self._with_adopted_id(event)
        super().pass_on(adopted, text if adopted is event else None)

    def _begin_message_for(self, event: AGUIEvent) -> None:
        value = event.get("value")
        if event["type"] != "CUSTOM":
            named = event.get("parentMessageId")
        elif event["name"] in _MESSAGE_PARTS and isinstance(value, Mapping):
            named = value.get("messageId")
        else:
            return
        if isinstance(named, str):
            self._adopt(named)
            self._begin_message(self.message_id if named == self._adopted else named)
        elif not self._begun:
            self._begin_message(self.message_id)

    def _adopt(self, message_id: str) -> None:
        """Let the producer's first message be the one that was begun for the reasoning before it.

        It is the first one that anything of the producer's names: its text, or a call in it.
        """
        is_new = not self.run.open.has("text", message_id)
        if is_new and not self._adopted and not self.has_text and self._begun == {self.message_id}:
            self._adopted = message_id

    def _with_adopted_id(self, event: AGUIEvent) -> AGUIEvent:
        # Reasoning is under an id of its own, also where a producer gives it that of its message.
        if not self._adopted or event["type"].startswith("REASONING_"):
            return event
        renamed = _renamed(event, ("messageId", "parentMessageId"), self._adopted, self.message_id)
        value = event.get("value")
        if event["type"] == "CUSTOM" and event["name"] in _MESSAGE_PARTS and isinstance(value, Mapping):
            new = _renamed(value, ("messageId",), self._adopted, self.message_id)
            return renamed if new is value else {**renamed, "value": new}
        return renamed

    def open_reasoning(self, part_id: str) -> None:
        """Open a piece of reasoning, in a step: to these clients, reasoning without steps is one piece."""
        self.run.send({"type": "STEP_STARTED", "stepName": part_id})
        super().open_reasoning(part_id)

    def close_reasoning(self, part_id: str) -> None:
        """Close it."""
        super().close_reasoning(part_id)
        self.run.send({"type": "STEP_FINISHED", "stepName": part_id})

    def end_with_error(self, event: AGUIEvent, reason: EndReason) -> None:
        """End the run with an error; clients that know no message of it would each make one up."""
        if not self._begun:
            self._begin_message(self.facts.message_id)
        super().end_with_error(event, reason)

    def stopped_event(self) -> dict[str, Any]:
        """Make the ``RUN_FINISHED`` of a run that was stopped: nothing is to go on by itself."""
        return self.finished_event({"outcome": {"type": "cancelled"}, "finishReason": "stop"})

    def finished_event(self, event: AGUIEvent) -> dict[str, Any]:
        """Make the ``RUN_FINISHED``, which says why in both of the places where clients look.

        To a client that is told of tool calls the run goes on, so that it would wait for ever; clients before that
        send the calls' results on their own unless they are told that the model has stopped.
        """
        finished = super().finished_event({name: event[name] for name in event if name != "finishReason"})
        usual = None if self._unanswered else "stop"
        reason = stated_reason(event) or self._model_reason() or usual
        told = None if is_intermediate(event) else reason
        return _with_extras(finished, {"finishReason": told}) | ({"finishReason": told} if told else {})

    def finish_fields(self) -> dict[str, Any]:
        """Return nothing: these clients have a field of their own for it."""
        return {}

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model has stopped, as the producer's own ``RUN_FINISHED`` says, or as it says itself."""
        found = named_finish(stated_reason(self.finished)) if self.finished is not None else None
        return found.reason if found is not None else super().finish_reason

    def _model_reason(self) -> str | None:
        finish = self.model_finish
        return _FINISH_REASONS.get(finish.reason) if finish is not None else None

    def error_event(self, event: AGUIEvent) -> dict[str, Any]:
        """Make the ``RUN_ERROR``: without the run's id, it would end all runs that clients know of."""
        nested = event.get("error")
        message = event.get("message") or (nested.get("message") if isinstance(nested, Mapping) else None)
        error = super().error_event({**event, "message": message})
        ids = {"runId": self.run.run_id, "threadId": self.run.thread_id}
        nested = nested if isinstance(nested, Mapping) else {}
        return error | ids | {"error": {**nested, "message": error["message"]}}

    def failed_result_event(self, call_id: str, error_text: str) -> dict[str, Any]:
        """Make the event of a tool that failed."""
        return _with_extras(super().failed_result_event(call_id, error_text), {"state": "output-error"})


def _renamed(source: Mapping[str, Any], fields: Sequence[str], old: str, new: str) -> Mapping[str, Any]:
    """Return ``source`` with ``new`` where a field is ``old``; the same object if none is."""
    found = [name for name in fields if source.get(name) == old]
    return {**source, **dict.fromkeys(found, new)} if found else source


def _last_text(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return the text that a message ends with.

    More must not be echoed: the sender's own tab, which has the message, takes the echo for its last part if that is
    text, and otherwise adds it.
    """
    last = parts[-1] if parts else {}
    content = last.get("content") if last.get("type") == "text" else None
    return content if isinstance(content, str) else ""


def _with_extras(event: dict[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Put fields of TanStack AI's own where its clients look for them; those that are none are taken out."""
    metadata = event.get("metadata")
    rest = {name: metadata[name] for name in metadata if name != "tanstack"} if isinstance(metadata, Mapping) else {}
    if tanstack := {name: value for name, value in {**extras(event), **added}.items() if value is not None}:
        rest["tanstack"] = tanstack
    bare = {name: value for name, value in event.items() if name != "metadata"}
    return {**bare, "metadata": rest} if rest else bare
