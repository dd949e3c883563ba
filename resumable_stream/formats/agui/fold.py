"""Fold AG-UI events into the messages that its client would hold (``apply/default.ts`` of ``@ag-ui/client``).

Same events in, same messages out. Joining is put off to the end, so that the time grows with the text and not with its
square.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...types import Message
from ..base import StoredGeneration
from ..conversation import is_broken_off
from ..javascript import MISSING
from ..jsontext import decode, mend_surrogates
from .messages import AGUICall, MessageList
from .patch import Budget, Document, PatchError

JSONEvent = dict[str, Any]

MOST_KEPT = 1000
"""Messages that survive a snapshot which does not have them: more than a client's chat has of thoughts and activities,
few enough for a snapshot after each event."""
_OWNED_ACTIVITIES = "authoritativeActivityTypes"


class EventFold:
    """Takes the events of a chat, as the client's reducer does."""

    def __init__(self) -> None:
        self._messages = MessageList()
        self._pieces: dict[int, tuple[dict[str, Any], str, list[str]]] = {}
        """What is still in pieces: a message or a function, the field, and the pieces."""
        self._documents: dict[int, tuple[Message, Document]] = {}
        """What patches have made of activities."""
        self._budget = Budget()
        self._begun: list[Message] = []
        """Texts that the current generation has begun."""
        self._broken_off: dict[int, Message] = {}
        """Those of generations that were broken off."""

    def place_user_message(self, message: Message) -> None:
        """Add what the user says; the same message once more takes the place of it and of all that followed."""
        self._messages.cut(message["id"])
        self._messages.append(_own(message))

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

    def end_generation(self, *, is_broken_off: bool) -> None:
        """Take note that a generation has ended; what it has begun without content is left out if it broke off."""
        if is_broken_off:
            self._broken_off |= {id(message): message for message in self._begun}
        self._begun.clear()

    def settle(self) -> list[Message]:
        """Return the messages."""
        for target, name, pieces in self._pieces.values():
            target[name] = mend_surrogates("".join(pieces))
        self._pieces.clear()
        return [message for message in self._messages if not self._is_nothing(message)]

    def _is_nothing(self, message: Message) -> bool:
        is_empty = message["role"] == "assistant" and not (message.get("content") or message.get("toolCalls"))
        return is_empty and id(message) in self._broken_off

    def _grow(self, target: dict[str, Any], name: str, delta: Any) -> None:
        known = self._pieces.get(id(target))
        if known is None:
            begun = target.get(name)
            known = self._pieces[id(target)] = (target, name, [begun] if isinstance(begun, str) else [])
        if isinstance(delta, str):
            known[2].append(delta)

    def _start_text(self, event: JSONEvent) -> None:
        self._start_message(event, event.get("role") or "assistant")

    def _start_reasoning(self, event: JSONEvent) -> None:
        self._start_message(event, "reasoning")

    def _start_message(self, event: JSONEvent, role: str) -> None:
        message_id = event.get("messageId")
        message = self._messages.find(message_id)
        if message is None:
            if not isinstance(message_id, str):
                return
            message = {"id": message_id, "role": role, "content": ""}
            names = ("name", "subagentRunId") if role != "reasoning" else ("subagentRunId",)
            message |= {name: event[name] for name in names if event.get(name) is not None}
            self._messages.append(message)
            self._begun.append(message)
        if message["role"] != "activity":
            _merge_metadata(message, event)

    def _grow_message(self, event: JSONEvent) -> None:
        message = self._messages.find(event.get("messageId"))
        if message is not None and message["role"] != "activity":
            if not isinstance(message.get("content"), str):
                message["content"] = ""
            self._grow(message, "content", event.get("delta"))
            _merge_metadata(message, event)

    def _end_message(self, event: JSONEvent) -> None:
        message = self._messages.find(event.get("messageId"))
        if message is not None and message["role"] != "activity":
            _merge_metadata(message, event)

    def _start_call(self, event: JSONEvent) -> None:
        call_id = event.get("toolCallId")
        if not isinstance(call_id, str):
            return
        call = self._messages.call(call_id)
        if call is None:
            call = {"id": call_id, "type": "function"}
            call["function"] = {"name": event.get("toolCallName"), "arguments": ""}
            self._messages.add_call(self._message_for_call(event, call_id), call)
        else:
            _function_of(call)["name"] = event.get("toolCallName")
        _merge_metadata(call, event)

    def _message_for_call(self, event: JSONEvent, call_id: str) -> Message:
        parent = event.get("parentMessageId")
        known = self._messages.find(parent) if parent else None
        if known is not None and known["role"] == "assistant":
            return known
        message_id = parent if isinstance(parent, str) and parent and known is None else call_id
        message: Message = {"id": message_id, "role": "assistant", "toolCalls": []}
        if event.get("subagentRunId") is not None:
            message["subagentRunId"] = event["subagentRunId"]
        self._messages.append(message)
        return message

    def _grow_call(self, event: JSONEvent) -> None:
        call = self._messages.call(event.get("toolCallId"))
        if call is not None:
            self._grow(_function_of(call), "arguments", event.get("delta"))
            _merge_metadata(call, event)

    def _end_call(self, event: JSONEvent) -> None:
        call = self._messages.call(event.get("toolCallId"))
        if call is not None:
            _merge_metadata(call, event)

    def _answer_call(self, event: JSONEvent) -> None:
        if not isinstance(event.get("messageId"), str) or event.get("role") not in (None, "", "tool"):
            return
        names = {"id": "messageId", "toolCallId": "toolCallId", "content": "content", "subagentRunId": "subagentRunId"}
        message = {name: event[field] for name, field in names.items() if event.get(field) is not None}
        message["role"] = "tool"
        _merge_metadata(message, event)
        self._messages.add_result(event.get("toolCallId"), message)

    def _seal(self, event: JSONEvent) -> None:
        entity = event.get("entityId")
        if event.get("subtype") == "tool-call":
            target = self._messages.call(entity)
        else:
            target = self._messages.find(entity)
        if target is not None and target.get("role") != "activity":
            target["encryptedValue"] = event.get("encryptedValue")

    def _replace_messages(self, event: JSONEvent) -> None:
        """Replace what the snapshot has; what a backend may know nothing of is kept unless it has any of it."""
        by_id = {message["id"]: message for message in _listed(event.get("messages"))}
        owned = _owned_activities(event)
        roles = {message["role"] for message in by_id.values()}

        def is_kept(message: Message) -> bool:
            if message["role"] != "activity":
                return message["role"] == "reasoning" and "reasoning" not in roles
            if owned is None or owned is MISSING:
                return owned is MISSING and "activity" not in roles
            return str(message.get("activityType")) not in owned

        known = [
            (message, by_id.pop(message["id"], None))
            for message in self._messages
            if message["id"] in by_id or is_kept(message)
        ]
        spare = sum(new is None for _, new in known) - MOST_KEPT
        survivors = MessageList()
        for message, new in known:
            spare -= new is None
            if new is not None or spare < 0:
                survivors.append(new or message)
        for message in by_id.values():
            survivors.append(message)
        self._messages = survivors

    def _set_activity(self, event: JSONEvent) -> None:
        message_id = event.get("messageId")
        message = self._messages.find(message_id)
        fresh = {"id": message_id, "role": "activity", "activityType": event.get("activityType")}
        fresh["content"] = event.get("content")
        fresh |= {"subagentRunId": event["subagentRunId"]} if event.get("subagentRunId") is not None else {}
        if message is None:
            if not isinstance(message_id, str):
                return
            message = fresh
            self._messages.append(message)
        elif event.get("replace") is not False:
            kept = {"metadata": message["metadata"]} if message["role"] == "activity" and "metadata" in message else {}
            self._pieces.pop(id(message), None)
            self._documents.pop(id(message), None)
            self._messages.become_activity(message, kept | fresh)
        elif message["role"] != "activity":
            return
        _merge_metadata(message, event)

    def _patch_activity(self, event: JSONEvent) -> None:
        message = self._messages.find(event.get("messageId"))
        if message is None or message["role"] != "activity":
            return
        _merge_metadata(message, event)
        if id(message) not in self._documents:
            self._documents[id(message)] = message, Document(message.get("content") or {}, self._budget)
        document = self._documents[id(message)][1]
        try:
            document.apply(event.get("patch") or [])
        except PatchError:
            return
        message["content"] = document.value
        message["activityType"] = event.get("activityType")

    def _start_run(self, event: JSONEvent) -> None:
        given = event.get("input")
        for message in _listed(given.get("messages") if isinstance(given, dict) else None):
            if self._messages.find(message["id"]) is None:
                self._messages.append(message)


def _listed(messages: Any) -> list[Message]:
    """Return those of an event's messages that have a role; one without an id is named by its place."""
    if not isinstance(messages, list):
        return []
    return [
        one if isinstance(one.get("id"), str) else {**one, "id": f"message-{at}"}
        for at, one in enumerate(messages)
        if isinstance(one, dict) and isinstance(one.get("role"), str)
    ]


def _own(message: Message) -> Message:
    """Copy a message as far as events may change it."""
    copied = {**message}
    if isinstance(message.get("toolCalls"), list):
        copied["toolCalls"] = [{**call} if isinstance(call, dict) else call for call in message["toolCalls"]]
    return copied


def _function_of(call: AGUICall) -> dict[str, Any]:
    """Return what a call says of its function, to be changed."""
    known = call.get("function")
    function: dict[str, Any] = known if isinstance(known, _Owned) else _Owned(known if isinstance(known, dict) else {})
    call["function"] = function
    return function


class _Owned(dict[str, Any]):
    """An object that this fold has made, and may change."""


def _owned_activities(event: JSONEvent) -> Any:
    """Return the types of activities that a snapshot has all of: ``None`` for every type, ``MISSING`` if untold."""
    metadata = event.get("metadata")
    if not isinstance(metadata, dict) or "@ag-ui/client" not in metadata:
        return MISSING
    declared = metadata["@ag-ui/client"]
    if not isinstance(declared, dict):
        return frozenset()
    types = declared.get(_OWNED_ACTIVITIES, MISSING)
    if isinstance(types, list):
        return frozenset(types) if all(isinstance(one, str) for one in types) else frozenset()
    return types if types is MISSING or types is None else frozenset()


def _merge_metadata(target: dict[str, Any], event: JSONEvent) -> None:
    new = event.get("metadata")
    if isinstance(new, dict):
        # In place: with many events of one message, copies of what is known would cost its square.
        known = target.get("metadata")
        if not isinstance(known, _Owned):
            known = target["metadata"] = _Owned(known if isinstance(known, dict) else {})
        known |= new


_HANDLERS: dict[str, Callable[[EventFold, JSONEvent], None]] = {
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
    fold.end_generation(is_broken_off=is_broken_off(generation))


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
