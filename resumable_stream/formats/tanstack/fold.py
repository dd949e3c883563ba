"""Fold TanStack AI's chunks into the messages that its client would hold (``processor.ts`` of ``@tanstack/ai``).

Same chunks in, same messages out, as in the tab that sent the question: with each generation the client forgets what it
was streaming before. Times of creation are left out, since each client has its own. ``undefined`` in the client is a
missing key here. Joining is put off to the end, so that the time grows with the text and not with its square.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...types import Message
from ..base import StoredGeneration
from ..conversation import answer_id, is_broken_off
from ..javascript import MISSING, parse_json, trim
from ..jsontext import decode
from .message_state import StreamedMessage, merge_metadata
from .messages import TanStackPart, error_of_output, extras, text, to_ui_messages, tool_output
from .streamed_chat import StreamedChat
from .transcript import Transcript

_SETTLED_BY_PEOPLE = ("approval-requested", "approval-responded")


class StreamFold(StreamedChat):
    """Takes the chunks of a chat, as the client's processor does."""

    def take_generation(self, generation: StoredGeneration) -> None:
        """Take what the user says with a generation, and then its chunks."""
        for message in to_ui_messages(generation.user_messages):
            self.place_user_message(message)
        self.fallback_id = answer_id(generation, len(self.transcript))
        self.forget()
        for chunk in generation.chunks:
            self.take(chunk)
        if is_broken_off(generation):
            self._drop_empty()

    def _drop_empty(self) -> None:
        """Leave out answers that have come to nothing."""
        for state in self.states.values():
            if state.role == "assistant" and not state.message["parts"]:
                self.transcript.remove(state.id)

    def forget(self) -> None:
        """Forget what was being streamed."""
        super().forget()
        self._structured: dict[str, None] = {}
        self._runs: set[str] = set()
        self._pending_step: str | None = None
        self._has_error = False

    def take(self, chunk: str) -> None:
        """Take one chunk; what the client does not know has no effect."""
        try:
            event = decode(chunk)
        except (ValueError, TypeError):
            return
        handler = _HANDLERS.get(event["type"]) if isinstance(event, dict) and text(event, "type") else None
        if handler is not None:
            handler(self, event)

    # Text

    def _start_text(self, event: TanStackPart) -> None:
        message_id = text(event, "messageId")
        role = event["role"] if event.get("role") in ("user", "system") else "assistant"
        is_made_up = self.pending_id is not None
        if self.pending_id is not None:
            self.rename(self.pending_id, message_id)
            self.pending_id = None
        message, state = self.transcript.get(message_id), self.states.get(message_id)
        if message is None and not (is_made_up and state is not None):
            message, state = self.add(message_id, role), None
        self.activate(message_id)
        if state is not None and state.has_calls:
            state.begin_segment()
        elif state is None and message is not None:
            self.remember(message, role)
        if message is not None:
            merge_metadata(message, event)

    def _grow_text(self, event: TanStackPart) -> None:
        state = self.ensure(text(event, "messageId"))
        merge_metadata(state.message, event)
        delta = text(event, "delta")
        if state.id in self._structured:
            state.grow_structured(delta)
            return
        if state.has_calls and state.segment:
            state.begin_segment()
        state.has_calls = False
        state.grow_text(delta)

    def _end_text(self, event: TanStackPart) -> None:
        message = self.transcript.get(text(event, "messageId"))
        if message is not None:
            merge_metadata(message, event)

    # Reasoning

    def _start_step(self, event: TanStackPart) -> None:
        state, step = self.active_assistant(), text(event, "stepName")
        if state is None:
            self._pending_step = step
            return
        state.enter_step(step)
        self._pending_step = None

    def _finish_step(self, event: TanStackPart) -> None:
        signature = event.get("signature")
        if not signature:
            return
        state = self.ensure()
        step = state.step or event.get("stepId")
        if step in state.thoughts:
            state.sign_thought(step, signature)

    def _grow_reasoning(self, event: TanStackPart) -> None:
        state = self.ensure()
        if self._pending_step:
            state.enter_step(self._pending_step)
            self._pending_step = None
        step = state.step if state.step is not None else text(event, "messageId")
        if step not in state.thoughts:
            state.enter_step(step)
        state.grow_thought(step, text(event, "delta"))

    def _take_signature(self, event: TanStackPart) -> None:
        signature, entity = text(event, "encryptedValue"), text(event, "entityId")
        if not signature:
            return
        if event.get("subtype") == "tool-call":
            self._sign_call(entity, signature)
            return
        state = self.ensure()
        state.sign_thought(state.step if state.step is not None else entity, signature)

    def _sign_call(self, call_id: str, signature: str) -> None:
        for part in self.transcript.shown_calls(call_id):
            known = part.get("metadata")
            part["metadata"] = {**(known if isinstance(known, dict) else {}), "thoughtSignature": signature}
        for state in self.callers(call_id):
            call = state.calls[call_id]
            known = call.metadata
            call.metadata = {**(known if isinstance(known, dict) else {}), "thoughtSignature": signature}

    # Calls

    def _start_call(self, event: TanStackPart) -> None:
        call_id, parent = text(event, "toolCallId"), event.get("parentMessageId")
        state = self.ensure(parent if isinstance(parent, str) else "")
        state.has_calls = True
        if call_id not in state.calls:
            self.begin_call(state, call_id)
            state.begin_call(call_id, event.get("toolCallName"), event.get("metadata"))

    def _grow_call(self, event: TanStackPart) -> None:
        call_id = text(event, "toolCallId")
        state = self.owner(call_id)
        if state is not None:
            state.grow_call(call_id, text(event, "delta"))

    def _end_call(self, event: TanStackPart) -> None:
        call_id = text(event, "toolCallId")
        state = self.owner(call_id)
        if state is None or state.calls[call_id].state == "input-complete":
            return
        value = event["input"] if "input" in event else extras(event).get("input", MISSING)
        state.fill_in(call_id, value)
        self._complete_call(state, call_id)
        if value is not MISSING:
            state.show_call(call_id, value=value)

    def _complete_call(self, state: StreamedMessage, call_id: str) -> None:
        call = state.calls[call_id]
        call.state = "input-complete"
        self.open_calls.pop((id(state), call_id), None)
        states = {
            part.get("state") for part in self.transcript.shown_calls(call_id) if isinstance(part.get("state"), str)
        }
        if "error" not in states and states.isdisjoint(_SETTLED_BY_PEOPLE):
            state.show_call(call_id, value=parse_json("".join(call.arguments)))

    def _complete_calls(self) -> None:
        for (_, call_id), state in tuple(self.open_calls.items()):
            if state.id in self.active and self.states.get(state.id) is state:
                self._complete_call(state, call_id)

    def _answer_call(self, event: TanStackPart) -> None:
        call_id, content = text(event, "toolCallId"), event.get("content")
        message = self.transcript.get(self.owners.get(call_id, "")) or self.transcript.message_with_call(call_id)
        if message is None:
            return
        is_error = "output-error" in (event.get("state"), extras(event).get("state"))
        state, output = "error" if is_error else "complete", tool_output(content)
        for part in self.transcript.shown_calls(call_id):
            part |= {"output": output, "state": state}
        result = {"type": "tool-result", "toolCallId": call_id, "content": content, "state": state}
        if is_error and (error := error_of_output(output)):
            result["error"] = error
        known = self.transcript.part_of(message, "tool-result", call_id)
        if known is None:
            self.transcript.add_part(message, result)
        else:
            known.clear()
            known |= result

    def _ask_approval(self, message_id: str, call_id: str, approval_id: Any) -> None:
        message = self.transcript.get(message_id)
        part = self.transcript.part_of(message, "tool-call", call_id) if message is not None else None
        if part is not None:
            part |= {"state": "approval-requested", "approval": {"id": approval_id, "needsApproval": True}}

    # The run

    def _start_run(self, event: TanStackPart) -> None:
        self._runs.add(str(event.get("runId")))

    def _finish_run(self, event: TanStackPart) -> None:
        self._runs.discard(str(event.get("runId")))
        outcome = event.get("outcome")
        is_interrupt = isinstance(outcome, dict) and outcome.get("type") == "interrupt"
        if is_interrupt and isinstance(outcome, dict):
            self._interrupt(outcome.get("interrupts"))
        if self._runs:
            return
        self._complete_calls()
        reason = event["finishReason"] if "finishReason" in event else extras(event).get("finishReason")
        if reason != "tool_calls" or is_interrupt:
            self._finalize()

    def _interrupt(self, interrupts: Any) -> None:
        for interrupt in interrupts if isinstance(interrupts, list) else ():
            if not isinstance(interrupt, dict) or not (call_id := text(interrupt, "toolCallId")):
                continue
            metadata = interrupt.get("metadata")
            kind = metadata.get("kind") if isinstance(metadata, dict) else None
            if kind == "approval" or interrupt.get("reason") == "approval_required":
                self._ask_approval(self._owner_id(call_id), call_id, interrupt.get("id"))

    def _owner_id(self, call_id: str) -> str:
        state = self.active_assistant()
        if state is not None:
            return state.id
        message = self.transcript.message_with_call(call_id)
        return self.owners.get(call_id) or (message["id"] if message is not None else "")

    def _finalize(self) -> None:
        self._complete_calls()
        last = None
        for message_id in self.active:
            message = self.transcript.get(message_id)
            if message_id in self.states and message is not None and message["role"] == "assistant":
                last = message
        # Before a JSON answer that did not end becomes an error: the client looks at what was there before.
        is_dropped = last is not None and not self._has_error and self._is_blank(last)
        for message_id in self._structured:
            self._fail_structured(message_id, "Stream ended without structured-output.complete")
        self._structured.clear()
        self.deactivate_all()
        if last is not None and is_dropped:
            self.transcript.remove(last["id"])

    def _is_blank(self, message: Message) -> bool:
        parts = message["parts"]
        if not parts or any(part.get("type") != "text" for part in parts):
            return False
        return not any(trim(piece) for part in parts for piece in self.growth.pieces_of(part, "content"))

    def _fail_run(self, event: TanStackPart) -> None:
        self._has_error = True
        run_id = event.get("runId") or extras(event).get("runId")
        if run_id:
            self._runs.discard(str(run_id))
        else:
            self._runs.clear()
        state = self.ensure()
        if state.id in self._structured:
            del self._structured[state.id]
            self._fail_structured(state.id, event.get("message") or "An error occurred")

    def _fail_structured(self, message_id: str, error: Any) -> None:
        message = self.transcript.get(message_id)
        if message is None:
            return
        part = self.transcript.part_of(message, "structured-output")
        if part is None:
            failed = {"type": "structured-output", "status": "error", "raw": "", "errorMessage": error}
            self.transcript.add_part(message, failed)
        elif part.get("status") != "complete":
            part |= {"status": "error", "errorMessage": error}

    def _replace_messages(self, event: TanStackPart) -> None:
        self.forget()
        previous = list(self.transcript)
        listed = event.get("messages")
        given = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        named = [{**one, "id": text(one, "id") or f"{self.fallback_id}-{at}"} for at, one in enumerate(given)]
        messages = to_ui_messages(named, previous)
        known = {message["id"]: message.get("metadata") for message in previous}
        for message in messages:
            if message.get("metadata") is None and known.get(message["id"]) is not None:
                message["metadata"] = known[message["id"]]
            message.pop("createdAt", None)
        self.transcript = Transcript(messages)

    # Events of TanStack AI's own

    def _take_custom(self, event: TanStackPart) -> None:
        handler = _CUSTOM_HANDLERS.get(text(event, "name"))
        if handler is not None and isinstance(event.get("value"), dict):
            handler(self, event["value"])

    def _start_structured(self, value: TanStackPart) -> None:
        self._structured[self.ensure(text(value, "messageId")).id] = None

    def _complete_structured(self, value: TanStackPart) -> None:
        state = self.ensure(text(value, "messageId"))
        self._structured.pop(state.id, None)
        state.complete_structured(value)

    def _request_approval(self, value: TanStackPart) -> None:
        active, call_id = self.active_assistant(), text(value, "toolCallId")
        message_id = active.id if active is not None else self.owners.get(call_id, "")
        approval = value.get("approval")
        self._ask_approval(message_id, call_id, approval.get("id") if isinstance(approval, dict) else None)

    def _add_resource(self, value: TanStackPart) -> None:
        active = self.active_assistant()
        message_id = self.owners.get(text(value, "toolCallId")) or (active.id if active is not None else "")
        message = self.transcript.get(message_id)
        if message is not None:
            kept = ("resource", "toolCallId", "toolName", "serverId", "meta")
            message["parts"].append({"type": "ui-resource"} | {name: value[name] for name in kept if name in value})


_HANDLERS: dict[str, Callable[[StreamFold, TanStackPart], None]] = {
    "TEXT_MESSAGE_START": StreamFold._start_text,
    "TEXT_MESSAGE_CONTENT": StreamFold._grow_text,
    "TEXT_MESSAGE_END": StreamFold._end_text,
    "REASONING_MESSAGE_CONTENT": StreamFold._grow_reasoning,
    "REASONING_ENCRYPTED_VALUE": StreamFold._take_signature,
    "STEP_STARTED": StreamFold._start_step,
    "STEP_FINISHED": StreamFold._finish_step,
    "TOOL_CALL_START": StreamFold._start_call,
    "TOOL_CALL_ARGS": StreamFold._grow_call,
    "TOOL_CALL_END": StreamFold._end_call,
    "TOOL_CALL_RESULT": StreamFold._answer_call,
    "RUN_STARTED": StreamFold._start_run,
    "RUN_FINISHED": StreamFold._finish_run,
    "RUN_ERROR": StreamFold._fail_run,
    "MESSAGES_SNAPSHOT": StreamFold._replace_messages,
    "CUSTOM": StreamFold._take_custom,
}
_CUSTOM_HANDLERS: dict[str, Callable[[StreamFold, TanStackPart], None]] = {
    "structured-output.start": StreamFold._start_structured,
    "structured-output.complete": StreamFold._complete_structured,
    "approval-requested": StreamFold._request_approval,
    "ui-resource": StreamFold._add_resource,
}
