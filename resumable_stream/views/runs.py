"""The HTTP doors of clients that name their runs: join one by its id, go on in it, load the chat.

They know one URL, the prefix. ``POST`` starts a run under the id that the client chose, and the same ``POST`` again
never starts a second one. ``GET`` with ``runId`` reads a run to its end; with ``threadId`` it loads the chat.
"""

from __future__ import annotations

from dataclasses import replace

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ..asgi import require_framing
from ..chat.hooks import ChatHooks
from ..chat.loading import Form, runs_as_json
from ..exceptions import AccessDeniedError, InvalidRequestError
from ..formats.base import ChatRequest
from ..http.ndjson import NDJSON
from ..http.requests import named_chat, parse_limit, parse_run_cursor, wants_lines
from ..http.sse import SSE, Wire
from ..validation import parse_chat_id, parse_run_id


class RunEndpoints(ChatHooks):
    """What a view does for clients whose format's dialect says that they name their runs."""

    def name_run(self, request: HttpRequest, asked: ChatRequest) -> ChatRequest:
        """Take the ids of chat and run also from where these clients have them in all their requests; check the run's.

        A chat that the URL names is that chat, whatever thread the client has begun.
        """
        if not self.names_runs:
            return replace(asked, run_id=parse_run_id(asked.run_id))
        run_id = request.headers.get("X-Run-Id") or asked.run_id
        return replace(asked, run_id=parse_run_id(run_id), chat_id=named_chat(request) or asked.chat_id)

    async def get_run(self, request: HttpRequest) -> HttpResponseBase:
        """Join a run, or load the chat."""
        run_id = parse_run_id(request.GET.get("runId"))
        chat_id = named_chat(request)
        if chat_id is None:
            if run_id is None:
                raise InvalidRequestError("Say 'threadId' to load a chat, or 'runId' and 'offset' to join a run.")
            chat_id = await self.chat_of_run(request, run_id)
            if chat_id is None:
                raise AccessDeniedError
        stream_name = await self.find_stream(request, parse_chat_id(chat_id), "read")
        if run_id is None:
            return await self.load(request, stream_name, runs_as_json)
        return await self.join(request, chat_id, stream_name, run_id)

    async def join(self, request: HttpRequest, chat_id: str, stream_name: str, run_id: str) -> HttpResponseBase:
        """Answer with the run from its start, or with what follows the request's cursor."""
        require_framing(request)
        return await self.chat.join(
            stream_name,
            run_id,
            cursor=parse_run_cursor(request),
            owner=await self.limit_key_of(request),
            check=self.read_check(request, chat_id),
            wire=self.wire_for(request),
        )

    def wire_for(self, request: HttpRequest) -> Wire:
        """Choose how the chunks travel."""
        return NDJSON if self.names_runs and wants_lines(request) else SSE

    async def load(self, request: HttpRequest, stream_name: str, form: Form) -> HttpResponseBase:
        """Answer with the page of the chat that the request asks for."""
        before, limit = request.GET.get("before"), parse_limit(request)
        owner = await self.limit_key_of(request)
        return await self.chat.load(stream_name, before=before, limit=limit, owner=owner, form=form)
