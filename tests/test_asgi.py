from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncRequestFactory, RequestFactory

from resumable_stream import checks
from resumable_stream.asgi import DrainOnShutdown, drain, require_asgi
from resumable_stream.chat.engine import ChatEngine
from resumable_stream.runtime import runtime

from .support.logs import FaultyLog
from .support.manual import run_python
from .support.producers import Producer
from .support.virtual_time import in_virtual_time, settle

pytestmark = pytest.mark.log_settings(SHUTDOWN_GRACE_SECONDS=7)


async def test_a_request_by_asgi_is_served() -> None:
    require_asgi(AsyncRequestFactory().get("/"))


def test_a_request_by_wsgi_is_refused_with_what_to_do() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"needs an ASGI server.*uvicorn.*daphne"):
        require_asgi(RequestFactory().get("/"))


@in_virtual_time
async def test_a_server_that_listens_no_more_has_its_work_drained(log: FaultyLog) -> None:
    await ChatEngine(format="text").start("s", Producer("1"))
    request = AsyncRequestFactory().get("/")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        request.scope["server"] = server.getsockname()
        for _ in range(3):
            require_asgi(request)
    await asyncio.sleep(2)
    assert runtime().registry.is_draining
    assert log.ends("s") == []
    await asyncio.sleep(7)

    assert log.ends("s") == ["interrupted"]


class Server:
    """What an ASGI server does with the lifespan."""

    def __init__(self, application: Any) -> None:
        self.heard: list[str] = []
        self._events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._lifespan = asyncio.create_task(application({"type": "lifespan"}, self._events.get, self._hear))

    async def _hear(self, message: Any) -> None:
        self.heard.append(message["type"])

    async def say(self, event: str) -> None:
        self._events.put_nowait({"type": f"lifespan.{event}"})
        await settle()

    async def wait(self) -> None:
        await self._lifespan


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send(scope["type"])


@in_virtual_time
async def test_a_lifespan_ends_when_running_answers_have_had_their_grace(log: FaultyLog) -> None:
    server = Server(DrainOnShutdown(application))
    await server.say("startup")
    assert server.heard == ["lifespan.startup.complete"]
    producer = Producer("1")
    await ChatEngine(format="text").start("s", producer)
    await server.say("shutdown")
    await asyncio.sleep(6)
    assert server.heard == ["lifespan.startup.complete"]
    producer.finish()
    await server.wait()

    assert server.heard == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert log.ends("s") == ["finished"]


@in_virtual_time
async def test_a_lifespan_with_nothing_to_drain_ends_at_once(log: FaultyLog) -> None:
    server = Server(DrainOnShutdown(application))
    await server.say("startup")
    await server.say("shutdown")
    await server.wait()

    assert server.heard[-1] == "lifespan.shutdown.complete"


@in_virtual_time
async def test_a_server_that_starts_after_another_one_in_the_same_loop_takes_answers(log: FaultyLog) -> None:
    """As in a test suite with one event loop and a lifespan for each test."""
    for name in ("first", "second"):
        server = Server(DrainOnShutdown(application))
        await server.say("startup")
        await ChatEngine(format="text").start(name, Producer("1"))
        await server.say("shutdown")
        await server.wait()

        assert log.ends(name) == ["interrupted"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_everything_but_the_lifespan_goes_to_the_application(kind: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await DrainOnShutdown(application)({"type": kind}, None, send)  # type: ignore[arg-type]

    assert sent == [kind]


@in_virtual_time
async def test_however_many_ask_a_process_is_drained_once(log: FaultyLog) -> None:
    await ChatEngine(format="text").start("s", Producer("1"))
    first = asyncio.create_task(runtime().drain(3))
    await settle()
    asking = [asyncio.create_task(drain()), asyncio.create_task(drain(60))]
    await settle()
    first.cancel()
    await asyncio.sleep(4)

    assert all(one.done() for one in asking)
    assert log.ends("s") == ["interrupted"]


def test_the_manuals_asgi_module_drains_and_its_settings_are_known(settings: Any) -> None:
    module = run_python("docs/deployment.md")
    settings.RESUMABLE_STREAM = module["RESUMABLE_STREAM"]

    assert isinstance(module["application"], DrainOnShutdown)
    assert checks.check_values() == []
