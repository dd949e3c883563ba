"""Encode one generation as AG-UI events.

Producers' own AG-UI events go out as they are, but for what one run may have only once: its beginning is ours, sent
with the claim, and of the producer's ends (there is one for each round of tools) the last stands at the very end,
under the run's own id. Text, reasoning and calls of other producers become events of messages of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...types import EndReason
from ..base import GenerationFacts
from ..encoder import DeltaEncoder, DeltaKind, ItemEncoder, delta_encoder
from ..item_types import (
    FormatChunk,
    InvalidToolInput,
    ToolError,
    ToolInput,
    ToolInputDelta,
    ToolInputStart,
    ToolItem,
    ToolOutput,
)
from ..jsontext import encode, encode_text
from ..producers.reader import ItemReader
from ..refusals import unknown_chunk, unknown_type
from .events import EVENT_TYPES, REQUIRED_TEXTS, REQUIRED_VALUES, AGUIEvent
from .run import Run
from .versions import for_older_clients


class AGUIEncoder(ItemEncoder):
    """Encodes one generation for AG-UI clients.

    To them a message holds one text and then calls. What comes after a call's result, and text or reasoning after a
    text, therefore begins a message of its own; the first one has the id of the answer.
    """

    def __init__(self, facts: GenerationFacts) -> None:
        super().__init__(ItemReader(own_types=EVENT_TYPES))
        self.facts = facts
        run_id = facts.run_id or facts.generation_id
        self.run = Run(run_id, facts.chat_id, store=self._store, note=self.note)
        self.message_id = facts.message_id
        """The id of the message that our own text and calls go to."""
        self.is_for_older_clients = not facts.protocol_version
        """Whether the client is one of before version 1.0, whose schemas refuse some of what came with it."""
        self.has_text = False
        """Whether that message has text that reasoning must not be followed up by."""
        self._has_result = False
        self._messages = 1
        self._reasonings = 0
        self._own_part: DeltaKind | None = None
        self._encode_own = delta_encoder("", "")
        self._calls: dict[str, bool] = {}
        """The calls of our own, and whether their input has been sent."""
        self.finished: AGUIEvent | None = None
        """The producer's own last ``RUN_FINISHED``, unless more came after it."""
        self._final: AGUIEvent | None = None
        """The same, when the producer had come to its end."""
        self._error: AGUIEvent | None = None
        """The producer's own first error, which is put off to the end: clients take nothing after it."""

    @property
    def end(self) -> EndReason | None:
        """How the producer's own last event said that it ended; an error of its own has the last word."""
        if self.run.end is None and self._error is not None:
            return EndReason.FAILED
        if self.run.end is not None or self.finished is None:
            return self.run.end
        outcome = self.finished.get("outcome")
        is_cancelled = isinstance(outcome, Mapping) and outcome.get("type") == "cancelled"
        return EndReason.STOPPED if is_cancelled else EndReason.FINISHED

    def _store(self, chunk: str) -> None:
        self.pending.append(chunk)

    def start(self) -> list[str]:
        """Begin the run: clients that join it wait for this event, and give up after two seconds."""
        self.run.begin()
        return self.take()

    def note_stored(self, data: Any) -> None:
        """Update the state with an event on the log. What clients make of another program's event is unknown."""
        if isinstance(data, dict) and isinstance(data.get("type"), str):
            self.run.observe(data)

    def finish(self) -> list[str]:
        """Complete calls, close what is open, and send the producer's ``RUN_FINISHED``, or one of our own."""
        # Calls that are completed now came before it.
        self._final = self.finished
        return super().finish()

    def close(self, reason: EndReason, text: str | None) -> None:
        """Close what is open, and end the run.

        A failure is told in the producer's own words if it has some, an interruption with a code of its own: clients
        read nothing after it.
        """
        if reason is EndReason.INTERRUPTED:
            self.end_with_error({"message": text, "code": "interrupted"}, reason)
        elif reason is EndReason.STOPPED:
            self.run.finish(self.stopped_event(), reason)
        elif self._error is not None or reason is EndReason.FAILED:
            self.end_with_error(self._error or {"message": text}, EndReason.FAILED)
        else:
            self.run.finish(self.finished_event(self._final or {}), self.end or reason)

    def end_with_error(self, event: AGUIEvent, reason: EndReason) -> None:
        """Close what is open, and end the run with an error that says what ``event`` does."""
        self.run.finish(self.error_event(event), reason)

    def finished_event(self, event: AGUIEvent) -> dict[str, Any]:
        """Make the ``RUN_FINISHED`` of the run, of what the producer says with its own."""
        ids = {"runId": self.run.run_id, "threadId": self.run.thread_id}
        return dict(self.adapt({"type": "RUN_FINISHED", **ids, **self.finish_fields(), **event, **ids}))

    def finish_fields(self) -> dict[str, Any]:
        """Report an unusual end in ``result``, which the client receives: no field holds the reason."""
        finish = self.model_finish
        return {"result": {"finishReason": finish.reason}} if finish is not None and finish.is_unusual else {}

    def adapt(self, event: AGUIEvent) -> AGUIEvent:
        """Return the event as the client takes it: the same object if it does so as it is."""
        return for_older_clients(event) if self.is_for_older_clients else event

    def stopped_event(self) -> dict[str, Any]:
        """Make the ``RUN_FINISHED`` of a run that was stopped."""
        return self.finished_event({"outcome": {"type": "cancelled"}})

    def error_event(self, event: AGUIEvent) -> dict[str, Any]:
        """Make the ``RUN_ERROR`` of the run, of what it has to say."""
        return {"type": "RUN_ERROR", **event, "message": str(event.get("message") or "An error occurred.")}

    def note(self, event: AGUIEvent) -> None:
        """Take note of an event that is part of the run."""
        if event["type"] == "TOOL_CALL_RESULT":
            self._has_result = True

    def add_tool(self, item: ToolItem) -> None:
        """Add a piece of a call or a result."""
        self.leave_part()
        self._encode_tool(item)

    def add_chunk(self, chunk: FormatChunk) -> None:
        """Add an event of the producer's own; an error waits for what follows it."""
        event = check_event(chunk)
        kind = event["type"]
        if kind == "RUN_STARTED":
            return
        self.finished = event if kind == "RUN_FINISHED" else None
        if kind == "RUN_ERROR":
            self._error = self._error or event
        elif kind != "RUN_FINISHED":
            self.pass_on(event, chunk.text if event is chunk.data else None)

    def pass_on(self, event: AGUIEvent, text: str | None) -> None:
        """Send an event of the producer's own."""
        if event["type"] == "MESSAGES_SNAPSHOT":
            # It takes the place of all messages; text that came after it would take the place of what ours had.
            self.leave_part()
            self.next_message()
        elif event["type"] == "TEXT_MESSAGE_CONTENT" and "content" in event:
            # All of the text so far, once more with every piece: clients take the delta.
            event, text = {name: value for name, value in event.items() if name != "content"}, None
        adapted = self.adapt(event)
        self.run.send(adapted, text if adapted is event else None)

    def open_part(self, kind: DeltaKind) -> DeltaEncoder | None:
        """Open a text or reasoning of our own, unless it is open; nothing is added to a run that has ended."""
        if self.run.end is not None:
            return None
        self.finished = None
        if self._own_part != kind:
            self.leave_part()
            self._open_own_part(kind)
        return self._encode_own

    def _open_own_part(self, kind: DeltaKind) -> None:
        self.enter(kind)
        if kind == "text":
            part_id, prefix = self.message_id, "TEXT_MESSAGE"
            self.run.send({"type": "TEXT_MESSAGE_START", "messageId": part_id, "role": "assistant"})
            self.has_text = True
        else:
            self._reasonings += 1
            part_id, prefix = f"{self.facts.message_id}-reasoning-{self._reasonings}", "REASONING_MESSAGE"
            self.open_reasoning(part_id)
        self._own_part = kind
        before = f'{{"type":"{prefix}_CONTENT","messageId":{encode_text(part_id)},"delta":'
        self._encode_own = delta_encoder(before, "}")

    def leave_part(self) -> None:
        """Close our own text or reasoning."""
        if self._own_part == "text":
            self.run.send({"type": "TEXT_MESSAGE_END", "messageId": self.message_id})
        elif self._own_part == "reasoning":
            self.close_reasoning(f"{self.facts.message_id}-reasoning-{self._reasonings}")
        self._own_part = None

    def open_reasoning(self, part_id: str) -> None:
        """Open a piece of reasoning."""
        self.run.send({"type": "REASONING_START", "messageId": part_id})
        self.run.send({"type": "REASONING_MESSAGE_START", "messageId": part_id, "role": "reasoning"})

    def close_reasoning(self, part_id: str) -> None:
        """Close it."""
        self.run.send({"type": "REASONING_MESSAGE_END", "messageId": part_id})
        self.run.send({"type": "REASONING_END", "messageId": part_id})

    def enter(self, kind: str) -> None:
        """Prepare for something of our own: ``"text"``, ``"reasoning"`` or a ``"call"``."""
        if self._has_result or (kind != "call" and self.has_text):
            self.next_message()

    def next_message(self) -> None:
        """Let what comes next go to a message of its own."""
        self._messages += 1
        self.message_id = f"{self.facts.message_id}-{self._messages}"
        self.has_text = self._has_result = False

    def _encode_tool(self, item: ToolItem) -> None:
        self.finished = None
        match item:
            case ToolInputStart(call_id, name):
                self._begin_call(call_id, name)
            case ToolInputDelta(call_id, delta):
                self._send_input(call_id, delta)
            case ToolInput(call_id, name, value):
                self._complete_call(call_id, name, value)
            case InvalidToolInput(call_id, name, raw_input):
                self._complete_call(call_id, name, raw_input)
            case ToolOutput(call_id, output):
                self._end_call(call_id)
                self.run.send(self.result_event(call_id, output if isinstance(output, str) else encode(output)))
            case ToolError(call_id, error_text):
                self._end_call(call_id)
                self.run.send(self.failed_result_event(call_id, error_text))

    def _begin_call(self, call_id: str, name: str) -> None:
        self.enter("call")
        call = {"toolCallId": call_id, "toolCallName": name, "parentMessageId": self.message_id}
        self.run.send({"type": "TOOL_CALL_START", **call})
        self._calls[call_id] = False

    def _send_input(self, call_id: str, delta: str) -> None:
        self.run.send({"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": delta})
        self._calls[call_id] = True

    def _complete_call(self, call_id: str, name: str, value: Any) -> None:
        if call_id not in self._calls:
            self._begin_call(call_id, name)
        if not self._calls[call_id]:
            self._send_input(call_id, value if isinstance(value, str) else encode(value))
        self._end_call(call_id)

    def _end_call(self, call_id: str) -> None:
        self.run.send({"type": "TOOL_CALL_END", "toolCallId": call_id})

    def result_event(self, call_id: str, content: str) -> dict[str, Any]:
        """Make the event of what a tool answered."""
        message = {"messageId": f"tool-{call_id}", "toolCallId": call_id, "role": "tool"}
        return {"type": "TOOL_CALL_RESULT", **message, "content": content}

    def failed_result_event(self, call_id: str, error_text: str) -> dict[str, Any]:
        """Make the event of a tool that failed."""
        return self.result_event(call_id, encode({"error": error_text}))


def check_event(chunk: FormatChunk) -> AGUIEvent:
    """Check a producer's own event, and complete it where a model's dump leaves a value out.

    Raises:
        TypeError: It is none, clients know no such event, or it lacks what they need.
    """
    data: Any = chunk.data
    kind = data.get("type") if isinstance(data, Mapping) else None
    if not isinstance(kind, str):
        raise unknown_chunk(chunk, "An AG-UI event is a mapping with a 'type'", _FIX)
    if kind not in EVENT_TYPES:
        fix = f"{_FIX} Or choose the format that it belongs to."
        raise unknown_type(chunk, f"AG-UI knows no event of the type {kind!r:.100}.", fix)
    for name in REQUIRED_TEXTS[kind]:
        if not isinstance(data.get(name), str):
            raise TypeError(f"The event {kind} needs {name!r}, a str.")
    required = REQUIRED_VALUES.get(kind)
    complete: AGUIEvent = data if required is None or required in data else {**data, required: None}
    return complete


_FIX = "Yield str for text, and {'type': 'CUSTOM', 'name': …, 'value': …} for data of your own."
