"""The messages of a TanStack AI chat, and what its client remembers of those that are being streamed."""

from __future__ import annotations

from ...types import Message
from .message_state import StreamedMessage, TextGrowth
from .transcript import MOST_SHOWN, Transcript


class StreamedChat:
    """A chat while it is streamed."""

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.growth = TextGrowth()
        self.fallback_id = "message"
        """The id of an answer whose chunks name none."""
        self.forget()

    def forget(self) -> None:
        """Forget what was being streamed."""
        self.growth.forget()
        self.states: dict[str, StreamedMessage] = {}
        self.active: dict[str, None] = {}
        """The messages that are being streamed, in the order in which they were begun."""
        self.owners: dict[str, str] = {}
        """The messages that calls belong to."""
        self.open_calls: dict[tuple[int, str], StreamedMessage] = {}
        """The calls whose input is not complete."""
        self.pending_id: str | None = None
        """The message that was made up for want of a beginning, and takes the next one's id."""
        self._assistants: dict[str, StreamedMessage] = {}
        self._active_assistants: dict[str, StreamedMessage] = {}
        self._callers: dict[str, list[StreamedMessage]] = {}

    def place_user_message(self, message: Message) -> None:
        """Add what the user says; the same message once more takes the place of it and of all that followed."""
        self.transcript.cut(message["id"])
        self.transcript.append(message)

    def settle(self) -> list[Message]:
        """Return the messages."""
        self.growth.settle()
        return list(self.transcript)

    def add(self, message_id: str, role: str) -> Message:
        """Add an empty message."""
        message: Message = {"id": message_id, "role": role, "parts": []}
        self.transcript.append(message)
        return message

    def remember(self, message: Message, role: str) -> StreamedMessage:
        """Begin to stream a message."""
        state = self.states[message["id"]] = StreamedMessage(message, role, self.growth, self.transcript)
        if role == "assistant":
            self._assistants[state.id] = state
        else:
            self._assistants.pop(state.id, None)
            self._active_assistants.pop(state.id, None)
        if state.id in self.active:
            self.activate(state.id)
        return state

    def activate(self, message_id: str) -> None:
        """Let a message be one of those that are being streamed."""
        self.active.setdefault(message_id)
        if message_id in self._assistants:
            self._active_assistants[message_id] = self._assistants[message_id]

    def deactivate_all(self) -> None:
        """Let no message be streamed."""
        self.active.clear()
        self._active_assistants.clear()

    def rename(self, old: str, new: str) -> None:
        """Give a message another id, also in what is remembered of it."""
        if old == new:
            return
        self.transcript.rename(old, new)
        for states in (self.states, self._assistants):
            if old in states:
                states[new] = states.pop(old)
        for active in (self.active, self._active_assistants):
            active.pop(old, None)
            active.pop(new, None)
        self.activate(new)
        self.owners = {call: new if owner == old else owner for call, owner in self.owners.items()}

    def active_assistant(self) -> StreamedMessage | None:
        """Find the answer that is being streamed, or else the one that was last."""
        active = next(reversed(self._active_assistants.values()), None)
        return active or next(reversed(self._assistants.values()), None)

    def ensure(self, preferred: str = "") -> StreamedMessage:
        """Find the message that an event goes to, or make one up."""
        state = self.states.get(preferred) or self.active_assistant()
        if state is None:
            message = self.transcript.get(preferred)
            if message is not None:
                state = self.remember(message, message["role"])
                state.continue_text()
            else:
                self.pending_id = preferred or self.fallback_id
                state = self.remember(self.add(self.pending_id, "assistant"), "assistant")
        self.activate(state.id)
        return state

    def begin_call(self, state: StreamedMessage, call_id: str) -> None:
        """Take note of the message that a call is begun in."""
        self.owners[call_id] = state.id
        self.open_calls[id(state), call_id] = state
        callers = self._callers.setdefault(call_id, [])
        if len(callers) < MOST_SHOWN:
            callers.append(state)

    def callers(self, call_id: str) -> list[StreamedMessage]:
        """Find the messages that a call was begun in."""
        return self._callers.get(call_id, [])

    def owner(self, call_id: str) -> StreamedMessage | None:
        """Find the message that a call was begun in last."""
        state = self.states.get(self.owners.get(call_id, ""))
        return state if state is not None and call_id in state.calls else None
