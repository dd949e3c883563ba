"""A provider of answers on a loopback port, for the real packages of model libraries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar


class Provider:
    """Answers every POST with the bytes that a test gives it."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.answers: list[tuple[str, bytes]] = []
        """Media types and bodies of the answers, one for each request; the last one is given again."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, content_type: str, body: bytes) -> None:
        self.answers = [(content_type, body)]

    def answer_events(self, *answers: Iterable[Any]) -> None:
        """Answer with event streams of JSON, one for each request."""
        self.answers = [("text/event-stream", sse(events)) for events in answers]

    def answer_lines(self, lines: Iterable[Any]) -> None:
        """Answer with a line of JSON for each value."""
        self.answer("application/x-ndjson", b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def sse(events: Iterable[Any]) -> bytes:
    return b"".join(f"data: {json.dumps(event)}\r\n\r\n".encode() for event in events)


def _handler_of(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version: ClassVar[str] = "HTTP/1.0"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            content_type, body = provider.answers.pop(0) if len(provider.answers) > 1 else provider.answers[0]
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
