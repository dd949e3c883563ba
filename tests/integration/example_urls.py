"""The example project's own routes, with an answer that goes on from its middle when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from example_project import urls
from example_project.views import DemoChat

_gate = asyncio.Event()


class GatedChat(DemoChat):
    """Waits after a word: until the gate is open, an answer is in its middle, however slow everybody else is."""

    # Websockets serve the example's own view, and the same chats.
    name = DemoChat.chat_name()

    async def generate(self, turn: Any) -> AsyncIterator[Any]:
        async with aclosing(super().generate(turn)) as items:
            async for item in items:
                yield item
                if isinstance(item, str) and item.strip() == settings.GATE_AFTER:
                    await _gate.wait()


@csrf_exempt
async def open_gate(request: HttpRequest) -> HttpResponse:
    """Let this answer go on, and those to come pass."""
    _gate.set()
    return HttpResponse(status=204)


urlpatterns = [
    path("gate", open_gate),
    # Before the example's own view, which stands at the same prefix.
    path("api/chat", include(GatedChat.urls())),
    *urls.urlpatterns,
]
