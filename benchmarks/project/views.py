"""A chat whose model says what the request asks for, and views that tell about the log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse, JsonResponse

from resumable_stream import ResumableChatView
from resumable_stream.backends import backends
from resumable_stream.chat.turn import Turn
from resumable_stream.records import Record

from ..tidying import tidy
from ..wire import text
from .counting import Counting

sources_ended: dict[str, int] = {}
"""When the source of a chat's answer ended, in nanoseconds on this machine's monotonic clock."""


class LoadChat(ResumableChatView):
    """The user's message is JSON: ``{"count", "size", "every_ms", "hold"}`` as in the query of the bare app."""

    format = "text"
    # One kind of chat, whichever of these views an answer was started through.
    name = "load"

    def get_owner(self, request: HttpRequest) -> str:
        return "load"

    def said(self, turn: Turn) -> str:
        """Return what the user says."""
        said: str = turn.messages[-1]["content"]
        return said

    async def generate(self, turn: Turn) -> AsyncIterator[str]:
        asked = json.loads(self.said(turn))
        size, every = asked["size"], asked.get("every_ms", 0) / 1000
        clock = asyncio.get_running_loop().time
        due = clock()
        try:
            for _ in range(asked["count"]):
                yield text(size)
                if every:
                    due += every
                    await asyncio.sleep(due - clock())
            if asked.get("hold"):
                await asyncio.Event().wait()
        finally:
            sources_ended[turn.chat_id] = time.monotonic_ns()


class BackgroundChat(LoadChat):
    """Answers at once; another request streams."""

    delivery = "replay"


class SessionChat(LoadChat):
    """One subscription follows it from turn to turn; a start is answered when the turn before is over."""

    format = "tanstack"
    delivery = "response"

    def said(self, turn: Turn) -> str:
        said: str = turn.messages[-1]["parts"][0]["content"]
        return said


async def commits(request: HttpRequest) -> JsonResponse:
    """Append one record after the other, and tell how long each took, in seconds."""
    took = []
    for _ in range(int(request.GET["count"])):
        began = time.perf_counter()
        await backends["default"].append("commits", [Record(text(100))])
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
    return JsonResponse({"seconds": took})


async def counts(_request: HttpRequest) -> JsonResponse:
    """Tell how much was asked of the log, and read from it, so far."""
    backend = backends["default"]
    assert isinstance(backend, Counting)
    return JsonResponse({"records": backend.records_read, "requests": backend.requests})


async def ended(request: HttpRequest) -> JsonResponse:
    """Tell when the source of a chat's answer ended; ``null`` if it has not."""
    return JsonResponse({"at": sources_ended.get(request.GET["chat"])})


async def tidy_up(_request: HttpRequest) -> HttpResponse:
    """Give back memory that is not held."""
    tidy()
    return HttpResponse()
