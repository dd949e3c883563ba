"""Fold AG-UI events into the messages that its client would hold (``apply/default.ts`` of ``@ag-ui/client``).

Same events in, same messages out. Joining is put off to the end, so that the time grows with the text and not with its
square.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from .agui_patch import PatchError, apply_patch
from .base import Message, StoredGeneration
from .conversation import place_user_message
from .javascript import MISSING
from .jsontext import decode, mend_surrogates

Event = dict[str, Any]
Call = dict[str, Any]

_OWNED_ACTIVITIES = "authoritativeActivityTypes"


class EventFold:
    """Takes the events of a chat, as the client's reducer does."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._calls: dict[str, tuple[Message, Call]] = {}
        self._pieces: dict[int, tuple[dict[str, Any], str, list[str]]] = {}
        """What is still in pieces: a message or a function, the field, and the pieces."""

    def place_user_message(self, message: Message) -> None:
        """Add what the user says; the same message once more takes the place of it and of all that followed."""
        place_user_message(self.messages, copy.deepcopy(message))
        self._index_calls()

    def take(self, chunk: str) -> None:
        """Take one event; what does not build messages has no effect."""
        try:
            event = decode(chunk)
        except (ValueError, TypeError):
            return
        kind = event.get("type") if isinstance(event, dict) else None
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is not None:
            handler(self, event)

    def settle(self) -> list[Message]:
        """Return the messages."""
        for target, name, pieces in self._pieces.values():
            target[name] = mend_surrogates("".join(pieces))
        self._pieces.clear()
        return self.messages

    def _grow(self, target: dict[str, Any], name: str, delta: Any) -> None:
        known = self._pieces.get(id(target))
        if known is None:
            begun = target.get(name)
            known = self._pieces[id(target)] = (target, name, [begun] if isinstance(begun, str) else [])
        if isinstance(delta, str):
            known[2].append(delta)

    def _find(self, message_id: Any) -> Message | None:
        # From the end: what is streamed is there, and ids are unique.
        return next((message for message in reversed(self.messages) if message["id"] == message_id), None)

    def _index_calls(self) -> None:
        self._calls = {}
        for message in self.messages:
            calls = message.get("toolCalls")
            for call in calls if isinstance(calls, list) else ():
                if isinstance(call, dict) and isinstance(call.get("id"), str):
                    self._calls.setdefault(call["id"], (message, call))

    def _start_text(self, event: Event) -> None:
        self._start_message(event, event.get("role") or "assistant")

    def _start_reasoning(self, event: Event) -> None:
        self._start_message(event, "reasoning")

    def _start_message(self, event: Event, role: str) -> None:
        message = self._find(event.get("messageId"))
        if message is None:
            message = {"id": event.get("messageId"), "role": role, "content": ""}
            names = ("name", "subagentRunId") if role != "reasoning" else ("subagentRunId",)
            message |= {name: event[name] for name in names if event.get(name) is not None}
            self.messages.append(message)
        if message["role"] != "activity":
            _merge_metadata(message, event)

    def _grow_message(self, event: Event) -> None:
        message = self._find(event.get("messageId"))
        if message is not None and message["role"] != "activity":
            if not isinstance(message.get("content"), str):
                message["content"] = ""
            self._grow(message, "content", event.get("delta"))
            _merge_metadata(message, event)

    def _end_message(self, event: Event) -> None:
        message = self._find(event.get("messageId"))
        if message is not None and message["role"] != "activity":
            _merge_metadata(message, event)

    def _start_call(self, event: Event) -> None:
        call_id = str(event.get("toolCallId"))
        if call_id in self._calls:
            _, call = self._calls[call_id]
            call["function"]["name"] = event.get("toolCallName")
        else:
            call = {"id": call_id, "type": "function"}
            call["function"] = {"name": event.get("toolCallName"), "arguments": ""}
            message = self._message_for_call(event, call_id)
            message.setdefault("toolCalls", []).append(call)
            self._calls[call_id] = (message, call)
        _merge_metadata(call, event)

    def _message_for_call(self, event: Event, call_id: str) -> Message:
        parent = event.get("parentMessageId")
        known = self._find(parent) if parent else None
        if known is not None and known["role"] == "assistant":
            return known
        message_id = parent if parent and known is None else call_id
        message: Message = {"id": message_id, "role": "assistant", "toolCalls": []}
        if event.get("subagentRunId") is not None:
            message["subagentRunId"] = event["subagentRunId"]
        self.messages.append(message)
        return message

    def _grow_call(self, event: Event) -> None:
        known = self._calls.get(str(event.get("toolCallId")))
        if known is not None:
            self._grow(known[1]["function"], "arguments", event.get("delta"))
            _merge_metadata(known[1], event)

    def _end_call(self, event: Event) -> None:
        known = self._calls.get(str(event.get("toolCallId")))
        if known is not None:
            _merge_metadata(known[1], event)

    def _answer_call(self, event: Event) -> None:
        names = {"id": "messageId", "toolCallId": "toolCallId", "content": "content", "subagentRunId": "subagentRunId"}
        message = {name: event[field] for name, field in names.items() if event.get(field) is not None}
        message["role"] = event.get("role") or "tool"
        _merge_metadata(message, event)
        owner = self._calls.get(str(event.get("toolCallId")))
        place = self._place_of(owner[0]) + 1 if owner is not None else len(self.messages)
        while place < len(self.messages) and self.messages[place]["role"] == "tool":
            place += 1
        self.messages.insert(place, message)

    def _place_of(self, message: Message) -> int:
        return next(at for at in range(len(self.messages) - 1, -1, -1) if self.messages[at] is message)

    def _seal(self, event: Event) -> None:
        entity = event.get("entityId")
        if event.get("subtype") == "tool-call":
            known = self._calls.get(str(entity))
            target = known[1] if known is not None else None
        else:
            target = self._find(entity)
        if target is not None and target.get("role") != "activity":
            target["encryptedValue"] = event.get("encryptedValue")

    def _replace_messages(self, event: Event) -> None:
        """Replace what the snapshot has; what a backend may know nothing of is kept unless it has any of it."""
        self.settle()
        listed = event.get("messages")
        new = [copy.deepcopy(one) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        by_id = {message.get("id"): message for message in new}
        owned = _owned_activities(event)
        roles = {message.get("role") for message in new}

        def is_kept(message: Message) -> bool:
            if message["role"] != "activity":
                return message["role"] == "reasoning" and "reasoning" not in roles
            if owned is None or owned is MISSING:
                return owned is MISSING and "activity" not in roles
            return message.get("activityType") not in owned

        kept = [by_id.pop(one["id"], one) for one in self.messages if one["id"] in by_id or is_kept(one)]
        self.messages = kept + list(by_id.values())
        self._index_calls()

    def _set_activity(self, event: Event) -> None:
        message = self._find(event.get("messageId"))
        fresh = {"id": event.get("messageId"), "role": "activity", "activityType": event.get("activityType")}
        fresh["content"] = copy.deepcopy(event.get("content"))
        fresh |= {"subagentRunId": event["subagentRunId"]} if event.get("subagentRunId") is not None else {}
        if message is None:
            message = fresh
            self.messages.append(message)
        elif event.get("replace") is not False:
            kept = {"metadata": message["metadata"]} if message["role"] == "activity" and "metadata" in message else {}
            message.clear()
            message |= kept | fresh
        elif message["role"] != "activity":
            return
        _merge_metadata(message, event)

    def _patch_activity(self, event: Event) -> None:
        message = self._find(event.get("messageId"))
        if message is None or message["role"] != "activity":
            return
        _merge_metadata(message, event)
        try:
            message["content"] = apply_patch(message.get("content") or {}, event.get("patch") or [])
        except PatchError:
            return
        message["activityType"] = event.get("activityType")

    def _start_run(self, event: Event) -> None:
        given = event.get("input")
        messages = given.get("messages") if isinstance(given, dict) else None
        for message in messages if isinstance(messages, list) else ():
            if isinstance(message, dict) and self._find(message.get("id")) is None:
                self.messages.append(copy.deepcopy(message))
        self._index_calls()


def _owned_activities(event: Event) -> Any:
    """Return the types of activities that a snapshot has all of: ``None`` for every type, ``MISSING`` if untold."""
    metadata = event.get("metadata")
    if not isinstance(metadata, dict) or "@ag-ui/client" not in metadata:
        return MISSING
    declared = metadata["@ag-ui/client"]
    if not isinstance(declared, dict):
        return []
    types = declared.get(_OWNED_ACTIVITIES, MISSING)
    is_list = isinstance(types, list) and all(isinstance(one, str) for one in types)
    return types if types is MISSING or types is None or is_list else []


def _merge_metadata(target: dict[str, Any], event: Event) -> None:
    if isinstance(event.get("metadata"), dict):
        target["metadata"] = {**target.get("metadata", {}), **copy.deepcopy(event["metadata"])}


_HANDLERS: dict[str, Callable[[EventFold, Event], None]] = {
    "TEXT_MESSAGE_START": EventFold._start_text,
    "TEXT_MESSAGE_CONTENT": EventFold._grow_message,
    "TEXT_MESSAGE_END": EventFold._end_message,
    "REASONING_MESSAGE_START": EventFold._start_reasoning,
    "REASONING_MESSAGE_CONTENT": EventFold._grow_message,
    "REASONING_MESSAGE_END": EventFold._end_message,
    "REASONING_ENCRYPTED_VALUE": EventFold._seal,
    "TOOL_CALL_START": EventFold._start_call,
    "TOOL_CALL_ARGS": EventFold._grow_call,
    "TOOL_CALL_END": EventFold._end_call,
    "TOOL_CALL_RESULT": EventFold._answer_call,
    "MESSAGES_SNAPSHOT": EventFold._replace_messages,
    "ACTIVITY_SNAPSHOT": EventFold._set_activity,
    "ACTIVITY_DELTA": EventFold._patch_activity,
    "RUN_STARTED": EventFold._start_run,
}


def _take_generation(fold: EventFold, generation: StoredGeneration) -> None:
    for message in generation.user_messages:
        fold.place_user_message(message)
    for chunk in generation.chunks:
        fold.take(chunk)


def fold_generations(generations: Sequence[StoredGeneration]) -> list[Message]:
    """Fold a chat's generations into its messages."""
    fold = EventFold()
    for generation in generations:
        _take_generation(fold, generation)
    return fold.settle()


def fold_answer(generation: StoredGeneration) -> Message | None:
    """Fold one generation into its answer; of several messages, the last that says or calls anything."""
    fold = EventFold()
    _take_generation(fold, generation)
    answers = [message for message in fold.settle() if message.get("role") == "assistant"]
    return next((one for one in reversed(answers) if one.get("content") or one.get("toolCalls")), None)
