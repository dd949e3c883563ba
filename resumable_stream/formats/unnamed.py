"""Chats whose messages have no ids in the request: which of the log's messages they are.

People's messages are known by what they say, and their answers by standing after them: clients that send no ids seldom
send an answer just as it was. The newest message is always a new one, for people say "Yes" more than once.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ..types import Message
from .base import ChatRequest

SAID = ("role", "parts", "content")
"""The fields of a person's message that say something; others differ between what clients hold and what they send."""


def name_by_content(known: Sequence[Message], asked: ChatRequest) -> ChatRequest:
    """Return the request with the log's messages, ``known``, in the place of those that say the same.

    They are looked for from the end, as a page may have left out what is older. What stands before the first one that
    is found is not taken for new if the log has a question before that: it may be a summary of what was left out.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, message in enumerate(known):
        if message["role"] == "user":
            places[_said(message)].append(place)
    first = min((found[0] for found in places.values()), default=len(known))
    backwards = [asked.messages[-1]]
    unknown: list[Message] = []
    end = len(known)
    for message in reversed(asked.messages[:-1]):
        if message["role"] != "user":
            continue
        found = places.get(_said(message), [])
        at = bisect_left(found, end) - 1
        if at < 0:
            unknown.append(message)
            continue
        backwards += [*unknown, *reversed(known[found[at] + 1 : _end_of_answer(known, found[at])]), known[found[at]]]
        unknown = []
        end = found[at]
    if end == first:
        backwards += unknown
    return replace(asked, messages=backwards[::-1])


def _end_of_answer(known: Sequence[Message], place: int) -> int:
    end = place + 1
    while end < len(known) and known[end]["role"] != "user":
        end += 1
    return end


def _said(message: Message) -> str:
    return json.dumps([message.get(name) for name in SAID], sort_keys=True)
