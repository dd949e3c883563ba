from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resumable_stream.formats import EndReason, StoredGeneration
from resumable_stream.formats.jsontext import encode
from resumable_stream.formats.tanstack import TanStackFormat

from .agui_strategies import (
    MESSAGE_IDS,
    call_events,
    custom_events,
    reasoning_events,
    run_events,
    snapshot_events,
    text_events,
)
from .ai_client import NodeClient

FORMAT = TanStackFormat()
USERS = [
    {"id": "u1", "role": "user", "parts": [{"type": "text", "content": "Hello"}]},
    {"id": "u2", "role": "user", "parts": [{"type": "text", "content": "See"}, {"type": "image", "source": {}}]},
]
KNOWN_IDS = {*MESSAGE_IDS, "u1", "u2", "r1", "r2", "x", "y", "z"}

generations = st.lists(
    st.fixed_dictionaries(
        {
            "users": st.lists(st.sampled_from(USERS), max_size=1),
            "chunks": st.lists(
                st.one_of(*text_events, *reasoning_events, *call_events, *run_events, *custom_events, *snapshot_events),
                max_size=14,
            ).map(lambda events: [encode(event) for event in events]),
        }
    ),
    min_size=1,
    max_size=3,
)


def stored(played: list[dict[str, Any]]) -> list[StoredGeneration]:
    return [
        StoredGeneration(
            generation_id=f"g{number}",
            message_id=f"made-up-{number}",
            user_messages=one["users"],
            chunks=one["chunks"],
            end=EndReason.FINISHED,
        )
        for number, one in enumerate(played)
    ]


def comparable(messages: list[dict[str, Any]]) -> Any:
    """As they are in JavaScript, without what each client makes up by itself."""
    bare = json.loads(encode(messages), parse_int=float)
    for message in bare:
        message.pop("createdAt", None)
        message["id"] = message["id"] if message["id"] in KNOWN_IDS else "made-up"
    return bare


@settings(max_examples=400)
@given(played=generations)
def test_the_fold_is_what_the_client_makes_of_the_same_chunks(tanstack: NodeClient, played: list[dict[str, Any]]):
    client = tanstack.ask("sender", generations=played, messages=[])
    # A message that the client makes up, for want of a beginning, may take the id of another that is there already.
    assume(not client["collided"])
    assert comparable(FORMAT.fold(stored(played))) == comparable(client["messages"])
