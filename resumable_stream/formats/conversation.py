"""How the messages of several generations make one chat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..types import EndReason, Message
from .base import StoredGeneration

_BROKEN_OFF = frozenset((EndReason.STOPPED, EndReason.FAILED, EndReason.INTERRUPTED))


def is_broken_off(generation: StoredGeneration) -> bool:
    """Return whether the generation ended before its producer did; an answer of it without content is left out."""
    return generation.end in _BROKEN_OFF


class Conversation:
    """The messages of a chat in their order, found by their ids; each id is there once."""

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def answer(self, message_id: str | None) -> Message | None:
        """Return the answer with an id, which another generation may continue."""
        found = self._messages.get(message_id) if message_id is not None else None
        return found if found is not None and found["role"] == "assistant" else None

    def place_user_message(self, message: Message) -> None:
        """Append a user's message; one whose id is there already takes the place of it and of all that followed."""
        while message["id"] in self._messages:
            self._messages.popitem()
        self._messages[message["id"]] = message

    def place_answer(self, answer: Message) -> None:
        """Put an answer in the place of the message with its id, or at the end."""
        self._messages[answer["id"]] = answer

    def messages(self) -> list[Message]:
        """Return the messages."""
        return list(self._messages.values())


def place_generations(
    generations: Iterable[StoredGeneration], fold_answer: Callable[[StoredGeneration], Message | None]
) -> list[Message]:
    """Make the chat of its generations, each with what the user said and its answer, if it has one."""

    def fold_answers(generation: StoredGeneration, _: Conversation) -> list[Message]:
        answer = fold_answer(generation)
        return [answer] if answer is not None else []

    return place_answers(generations, fold_answers)


def place_answers(
    generations: Iterable[StoredGeneration],
    fold_answers: Callable[[StoredGeneration, Conversation], Sequence[Message]],
) -> list[Message]:
    """Make the same chat where an answer depends on the chat before it, or a generation has several."""
    chat = Conversation()
    for generation in generations:
        for message in generation.user_messages:
            chat.place_user_message(message)
        for answer in fold_answers(generation, chat):
            chat.place_answer(answer)
    return chat.messages()


def answer_id(generation: StoredGeneration, place: int = 0) -> str:
    """Return the id of a generation's answer; one that another program wrote is named by its place in the chat."""
    return generation.message_id or generation.generation_id or f"message-{place}"


def continued_message(messages: Sequence[Message], message_id: str | None) -> Message | None:
    """Return the message that the answer ``message_id`` continues: the newest answer that has this id."""
    answers = (one for one in reversed(messages) if one["role"] == "assistant" and one["id"] == message_id)
    return next(answers, None)
