"""One chat view for each way a view can be configured, and the tests' handles on the model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_exempt

from resumable_stream import ResumableChatView

from . import model


class ScriptedChat(ResumableChatView):
    format = "aisdk"

    async def generate(self, turn: Any) -> AsyncIterator[Any]:
        async for item in model.play(turn.messages):
            yield item


class TextChat(ScriptedChat):
    format = "text"


class SingleUseChat(ScriptedChat):
    mode = "single-use"


class SharedChat(ScriptedChat):
    mode = "shared"


class ReplayChat(ScriptedChat):
    delivery = "replay"


async def csrf(request: HttpRequest) -> HttpResponse:
    """Give a visitor the cookie and the token that unsafe requests need."""
    return HttpResponse(get_token(request), content_type="text/plain")


async def gate_reached(request: HttpRequest, name: str) -> HttpResponse:
    """Answer once the model stands at the gate."""
    await model.gates[name].reached.wait()
    return HttpResponse(status=204)


@csrf_exempt
async def open_gate(request: HttpRequest, name: str) -> HttpResponse:
    """Let the model pass."""
    model.gates[name].opened.set()
    return HttpResponse(status=204)
