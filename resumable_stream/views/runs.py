"""The HTTP doors of clients that name their runs: join one by its id, go on in it, load the chat.

They know one URL, the prefix. ``POST`` starts a run under the id that the client chose, and the same ``POST`` again
never starts a second one. ``GET`` with ``runId`` reads a run to its end; with ``threadId`` it loads the chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ..asgi import require_framing
from ..chat.hooks import ChatHooks
from ..exceptions import AccessDeniedError, InvalidRequestError
from ..formats.base import ChatRequest, Message, StoredGeneration
from ..formats.jsontext import decode, encode
from ..formats.outgoing import encode_list, encode_object
from ..generations.registry import runtime
from ..http.ndjson import NDJSON
from ..http.requests import named_chat, parse_chat_id, parse_limit, parse_run_cursor, parse_run_id, wants_lines
from ..http.responses import json_response
from ..http.sse import SSE, Wire
from ..limits import releasing
from ..readers.history import fold_history, weight_of
from ..readers.plans import run_id_of
from ..utils.off_loop import off_loop


class RunDoors(ChatHooks):
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
            return await self._load(request, stream_name)
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

    async def _load(self, request: HttpRequest, stream_name: str) -> HttpResponseBase:
        limit, before = parse_limit(request), request.GET.get("before")
        place = runtime().reader_place(await self.limit_key_of(request))
        with releasing(place):
            generations, _ = await self.chat.history(stream_name)
            messages = await fold_history(self.chat.format, generations)
            # Both of one reading: what is in the messages has ended, and what has not is named.
            newest = generations[-1] if generations else None
            page, active, waiting = _page(messages, limit, before), _active_run(newest), _interrupts(newest)
            encoded = await off_loop(weight_of(generations), encode_list, page["messages"])
            fields = {
                "messages": encoded,
                "page": encode(page["page"]),
                "activeRun": encode(active),
                "interrupts": encode(waiting),
            }
            content = encode_object(fields)
        return json_response(content, place)


def _active_run(newest: StoredGeneration | None) -> dict[str, str] | None:
    if newest is None or newest.end is not None:
        return None
    run_id = run_id_of(newest)
    return {"runId": run_id} if run_id else None


def _interrupts(newest: StoredGeneration | None) -> dict[str, Any] | None:
    """Tell what the newest run waits for, if it has ended to be resumed with people's answers."""
    if newest is None or newest.end is None or not newest.chunks:
        return None
    try:
        last = decode(newest.chunks[-1])
    except (ValueError, TypeError):
        # Another program's record.
        return None
    outcome = last.get("outcome") if isinstance(last, dict) else None
    if not isinstance(outcome, dict) or outcome.get("type") != "interrupt":
        return None
    return {"runId": run_id_of(newest), "pending": outcome.get("interrupts", [])}


def _page(messages: Sequence[Message], limit: int | None, before: str | None) -> dict[str, Any]:
    """Cut out the newest ``limit`` messages, of those before the message ``before``."""
    end = next((at for at, message in enumerate(messages) if message["id"] == before), len(messages))
    start = max(0, end - limit) if limit is not None else 0
    page: dict[str, Any] = {"truncated": start > 0}
    if start:
        page["cursor"] = messages[start]["id"]
    return {"messages": messages[start:end], "page": page}
