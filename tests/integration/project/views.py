"""One chat view for each way a view can be configured, and the tests' handles on the model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

import resumable_stream
from resumable_stream import ResumableChatView
from tests.support.manual import run_python

from . import model

STATIC_FILES = Path(resumable_stream.__file__).parent / "static"


class ScriptedChat(ResumableChatView):
    format = "aisdk"

    async def generate(self, turn: Any) -> AsyncIterator[Any]:
        continued = [message for message in turn.messages if message.get("id") == turn.message_id]
        async for item in model.play(continued or turn.messages):
            yield item


class TextChat(ScriptedChat):
    format = "text"


class PostedTextChat(TextChat):
    delivery = "replay"


class AnthropicChat(ScriptedChat):
    format = "anthropic"


# The manual's view, which shows the manual's page, with answers to order.
HTMX_PAGE = run_python("docs/clients/htmx.md", prefix="/api/html")
HTMLChat = HTMX_PAGE["PageChat"]
HTMLChat.generate = ScriptedChat.generate


class HelloChat(run_python("docs/clients/fetch-text.md")["TextChat"]):
    """What the manual shows as it stands there: says hello, whatever it is asked."""


class SingleUseChat(ScriptedChat):
    mode = "single-use"


class SharedChat(ScriptedChat):
    mode = "shared"


class ReplayChat(ScriptedChat):
    delivery = "replay"


class TanStackChat(ScriptedChat):
    format = "tanstack"


class NativeTanStackChat(TanStackChat):
    delivery = "response"


class SingleUseTanStackChat(TanStackChat):
    mode = "single-use"


class AGUIChat(ScriptedChat):
    format = "agui"


async def csrf(request: HttpRequest) -> HttpResponse:
    """Give a visitor the cookie and the token that unsafe requests need."""
    return HttpResponse(get_token(request), content_type="text/plain")


taken: list[bytes] = []


async def take_memory(request: HttpRequest, mebibytes: int) -> HttpResponse:
    """Have this process take more memory for as long as it lives."""
    taken.append(b"x" * (mebibytes << 20))
    return HttpResponse(status=204)


async def gate_reached(request: HttpRequest, name: str) -> HttpResponse:
    """Answer once the model stands at the gate."""
    await model.gates[name].reached.wait()
    return HttpResponse(status=204)


@csrf_exempt
async def open_gate(request: HttpRequest, name: str) -> HttpResponse:
    """Let the model pass."""
    model.gates[name].opened.set()
    return HttpResponse(status=204)


HEADS = {
    2: '<script src="/packages/htmx2/dist/htmx.js"></script><script src="/packages/htmx-ext-sse/sse.js"></script>',
    4: '<script src="/packages/htmx4/dist/htmx.js"></script><script src="/packages/htmx4/dist/ext/hx-sse.js"></script>',
}


async def htmx_page(request: HttpRequest, version: int, chat_id: str) -> HttpResponse:
    """The manual's page, for one version of htmx."""
    page = await HTMX_PAGE["chat_page"](request, chat_id)
    return HttpResponse(f"<!doctype html><title>Chat</title>{HEADS[version]}{page.content.decode()}")


async def javascript_client_page(request: HttpRequest, chat_id: str) -> HttpResponse:
    """The manual's page for our own JavaScript client."""
    return render(request, "javascript_client.html", {"chat_id": chat_id})


async def script(request: HttpRequest, name: str) -> HttpResponse:
    """One of the app's static files."""
    return HttpResponse((STATIC_FILES / name).read_bytes(), content_type="text/javascript")


async def blank_page(request: HttpRequest) -> HttpResponse:
    """A page for scripts that a test brings along."""
    get_token(request)
    return HttpResponse('<!doctype html><title>Chat</title><p id="answer"></p>')


async def react_page(request: HttpRequest, name: str) -> HttpResponse:
    """A page whose content is made by a script, which a test brings along."""
    get_token(request)
    if name.endswith("socket"):
        await ScriptedChat().remember_visitor(request)
    script = f'<script type="module" src="/scripts/{name}.js"></script>'
    return HttpResponse(f'<!doctype html><title>Chat</title><div id="root"></div>{script}')
