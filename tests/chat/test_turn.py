from __future__ import annotations

import dataclasses

import pytest

from resumable_stream.chat.turn import Turn
from resumable_stream.protocol.layout import Begin


def test_a_strangers_turn_has_what_the_log_tells_and_no_more() -> None:
    begin = Begin(generation_id="g", format="text", message_id="m", chat_id="c", actor="ada")
    turn = Turn.of_stranger(begin)

    assert (turn.chat_id, turn.generation_id, turn.message_id, turn.actor) == ("c", "g", "m", "ada")
    assert (turn.request, turn.user, turn.messages, dict(turn.body)) == (None, None, [], {})


def test_a_strangers_turn_may_be_entirely_unknown() -> None:
    turn = Turn.of_stranger(None)

    assert (turn.chat_id, turn.generation_id, turn.message_id, turn.actor) == ("", "", "", "")


def test_a_turn_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Turn(chat_id="c", generation_id="g", message_id="m").chat_id = "other"  # type: ignore[misc]
