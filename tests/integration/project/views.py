"""One chat view for each way a view can be configured, and the tests' handles on the model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template import RequestContext, Template
from django.views.decorators.csrf import csrf_exempt

from resumable_stream import ResumableChatView
from resumable_stream.history import fold_history
from tests.support.manual import code_blocks

from . import model


class ScriptedChat(ResumableChatView):
    format = "aisdk"

    async def generate(self, turn: Any) -> AsyncIterator[Any]:
        async for item in model.play(turn.messages):
            yield item


class TextChat(ScriptedChat):
    format = "text"


class PostedTextChat(TextChat):
    delivery = "replay"


class AnthropicChat(ScriptedChat):
    format = "anthropic"


class HTMLChat(ScriptedChat):
    format = "html"


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
    chat = HTMLChat()
    stream_name = await chat.find_stream(request, chat_id, "read")
    assert stream_name is not None
    generations, cursor = await chat.chat.history(stream_name)
    running = generations[-1] if generations and generations[-1].end is None else None
    context = {
        "chat_id": chat_id,
        "messages": await fold_history(chat.chat.format, generations),
        "running": running and {"id": running.message_id, "role": "assistant"},
        "events": f"/api/html/{chat_id}/stream?from={cursor}",
    }
    (page,) = code_blocks("docs/clients/htmx.md", "html")
    source = f"<!doctype html><title>Chat</title>{HEADS[version]}{page.replace('/api/chat', '/api/html')}"
    return HttpResponse(Template(source).render(RequestContext(request, context)))


async def blank_page(request: HttpRequest) -> HttpResponse:
    """A page for scripts that a test brings along."""
    get_token(request)
    return HttpResponse('<!doctype html><title>Chat</title><p id="answer"></p>')


async def react_page(request: HttpRequest, name: str) -> HttpResponse:
    """A page whose content is made by a script, which a test brings along."""
    get_token(request)
    script = f'<script type="module" src="/scripts/{name}.js"></script>'
    return HttpResponse(f'<!doctype html><title>Chat</title><div id="root"></div>{script}')
