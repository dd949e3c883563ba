"""How the messages of several generations make one chat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .base import Message, StoredGeneration


def place_user_message(messages: list[Message], message: Message) -> None:
    """Append a user's message; one whose id is there already takes the place of it and of all that followed."""
    for index, known in enumerate(messages):
        if known["id"] == message["id"]:
            del messages[index:]
            break
    messages.append(message)


def place_answer(messages: list[Message], answer: Message) -> None:
    """Put an answer in the place of the message with its id, or at the end."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["id"] == answer["id"]:
            messages[index] = answer
            return
    messages.append(answer)


def place_generations(
    generations: Sequence[StoredGeneration], fold_answer: Callable[[StoredGeneration], Message | None]
) -> list[Message]:
    """Make the chat of its generations, each with what the user said and its answer, if it has one."""
    messages: list[Message] = []
    for generation in generations:
        for message in generation.user_messages:
            place_user_message(messages, message)
        answer = fold_answer(generation)
        if answer is not None:
            place_answer(messages, answer)
    return messages


def continued_message(messages: Sequence[Message], message_id: str | None) -> Message | None:
    """Return the message that the answer ``message_id`` continues: the last one, if it has this id."""
    last = messages[-1] if messages else None
    return last if last and last["role"] == "assistant" and last["id"] == message_id else None
