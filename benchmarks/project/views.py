"""A chat whose model says what the request asks for, and views that tell about the log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse, JsonResponse

from resumable_stream import ResumableChatView
from resumable_stream.backends import backends
from resumable_stream.records import Record
from resumable_stream.turns import Turn

from ..tidying import tidy
from ..wire import text
from .counting import CountingBackend


class LoadChat(ResumableChatView):
    """The user's message is JSON: ``{"count", "size", "every_ms", "hold"}`` as in the query of the bare app."""

    format = "text"

    def get_owner(self, request: HttpRequest) -> str:
        return "load"

    async def generate(self, turn: Turn) -> AsyncIterator[str]:
        asked = json.loads(turn.messages[-1]["content"])
        size, every = asked["size"], asked.get("every_ms", 0) / 1000
        clock = asyncio.get_running_loop().time
        due = clock()
        for _ in range(asked["count"]):
            yield text(size)
            if every:
                due += every
                await asyncio.sleep(due - clock())
        if asked.get("hold"):
            await asyncio.Event().wait()


class BackgroundChat(LoadChat):
    """Answers at once; another request streams."""

    delivery = "replay"


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
    """Tell how much was read from the log so far."""
    backend = backends["default"]
    assert isinstance(backend, CountingBackend)
    return JsonResponse({"records": backend.records_read})


async def tidy_up(_request: HttpRequest) -> HttpResponse:
    """Give back memory that is not held."""
    tidy()
    return HttpResponse()
