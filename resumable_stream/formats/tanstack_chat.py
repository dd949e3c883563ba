"""The messages of a TanStack AI chat, and what its client remembers of those that are being streamed."""

from __future__ import annotations

from .base import Message
from .conversation import place_user_message
from .tanstack_messages import Part
from .tanstack_state import Growth, MessageState, part_of


class StreamedChat:
    """A chat while it is streamed."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.growth = Growth()
        self.fallback_id = "message"
        """The id of an answer whose chunks name none."""
        self.index()
        self.forget()

    def forget(self) -> None:
        """Forget what was being streamed."""
        self.growth.forget()
        self.states: dict[str, MessageState] = {}
        self.active: dict[str, None] = {}
        """The messages that are being streamed, in the order in which they were begun."""
        self.owners: dict[str, str] = {}
        """The messages that calls belong to."""
        self.pending_id: str | None = None
        """The message that was made up for want of a beginning, and takes the next one's id."""

    def index(self) -> None:
        """Find messages by their ids anew."""
        self.by_id = {message["id"]: message for message in reversed(self.messages)}

    def place_user_message(self, message: Message) -> None:
        """Add what the user says; the same message once more takes the place of it and of all that followed."""
        known = len(self.messages)
        place_user_message(self.messages, message)
        if len(self.messages) == known + 1:
            self.by_id[message["id"]] = self.messages[-1]
        else:
            self.index()

    def settle(self) -> list[Message]:
        """Return the messages."""
        self.growth.settle()
        return self.messages

    def add(self, message_id: str, role: str) -> Message:
        """Add an empty message."""
        message: Message = {"id": message_id, "role": role, "parts": []}
        self.messages.append(message)
        self.by_id.setdefault(message_id, message)
        return message

    def remember(self, message: Message, role: str) -> MessageState:
        """Begin to stream a message."""
        state = self.states[message["id"]] = MessageState(message, role, self.growth)
        return state

    def rename(self, old: str, new: str) -> None:
        """Give a message another id, also in what is remembered of it."""
        if old == new:
            return
        for message in [message for message in self.messages if message["id"] == old]:
            message["id"] = new
        self.index()
        if old in self.states:
            self.states[new] = self.states.pop(old)
        self.active.pop(old, None)
        self.active.pop(new, None)
        self.active[new] = None
        self.owners = {call: new if owner == old else owner for call, owner in self.owners.items()}

    def active_assistant(self) -> MessageState | None:
        """Find the answer that is being streamed, or else the one that was last."""
        for candidates in (self.active, self.states):
            for message_id in reversed(candidates):
                state = self.states.get(message_id)
                if state is not None and state.role == "assistant":
                    return state
        return None

    def ensure(self, preferred: str = "") -> MessageState:
        """Find the message that an event goes to, or make one up."""
        state = self.states.get(preferred) or self.active_assistant()
        if state is None and preferred in self.by_id:
            message = self.by_id[preferred]
            state = self.remember(message, message["role"])
            state.continue_text()
        elif state is None:
            message_id = preferred or self.fallback_id
            self.pending_id = message_id
            state = self.remember(self.add(message_id, "assistant"), "assistant")
        self.active.setdefault(state.id)
        return state

    def owner(self, call_id: str) -> MessageState | None:
        """Find the message that a call was begun in."""
        state = self.states.get(self.owners.get(call_id, ""))
        return state if state is not None and call_id in state.calls else None

    def shown_calls(self, call_id: str) -> list[Part]:
        """Find what the client shows of a call, in each message that has it."""
        shown = (part_of(message, "tool-call", "id", call_id) for message in self.messages)
        return [part for part in shown if part is not None]

    def message_with_call(self, call_id: str) -> Message | None:
        """Find the first message that shows a call."""
        return next((one for one in self.messages if part_of(one, "tool-call", "id", call_id) is not None), None)
