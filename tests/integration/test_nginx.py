"""The manual's nginx configuration, run as it stands there, in front of two processes on one log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..support.patience import PATIENCE_SECONDS
from .conftest import running
from .log import Log, sqlite_log
from .nginx import Nginx, bare_site, manual_site, nginx_with
from .node_host import NodeHost
from .servers import Server, scripted_server
from .sockets import socket_of, trusting
from .tabs import Browser
from .visitor import Reading, Visitor, expect, new_id


@dataclass(frozen=True)
class Site:
    nginx: Nginx
    servers: list[Server]

    def visitor(self) -> Visitor:
        """Make a visitor as browsers are: HTTP/2 where there is TLS, compressed if possible, and from a page."""
        base = self.nginx.base
        origin = {"Origin": base, "Accept-Encoding": "gzip"}
        return Visitor(base, http2=base.startswith("https"), verify=trusting(), headers=origin)


def servers_on(log: Log, directory: Path, **settings: Any) -> list[Server]:
    found = []
    for name in ("first", "second"):
        (directory / name).mkdir()
        found.append(scripted_server("uvicorn", directory / name, log=log, **settings))
    return found


@pytest.fixture(scope="module", params=["plain", "TLS and HTTP/2"])
def site(request: pytest.FixtureRequest, nginx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("nginx")
    first, second = servers_on(sqlite_log(directory), directory)
    text, base = manual_site([first.port, second.port], directory, has_tls=request.param != "plain")
    with running(first), running(second), nginx_with(nginx, text, base, directory) as proxy:
        yield Site(proxy, [first, second])


@pytest.fixture
async def visitor(site: Site) -> AsyncIterator[Visitor]:
    async with site.visitor() as found:
        yield found


async def test_chunks_come_through_at_once_and_uncompressed(site: Site, visitor: Visitor) -> None:
    chat = new_id()
    async with visitor.starting(chat, "Before. ", {"gate": chat}, "After.") as response:
        reading = Reading(response)
        # The model stands at the gate: nothing that comes later pushes these out.
        shown = await reading.take(3)
        assert shown.text == "Before. "
        assert response.headers.get("Content-Encoding") != "gzip"
        # The gate is in the process that got the message.
        for _ in site.servers * 2:
            await visitor.open_gate(chat)
        whole = await reading.rest()

    assert whole.complete
    assert whole.text == "Before. After."
    assert response.http_version == ("HTTP/2" if site.nginx.base.startswith("https") else "HTTP/1.1")


async def test_what_is_no_stream_is_compressed(visitor: Visitor) -> None:
    chat = new_id()
    await visitor.ask(chat, {"repeat": "word ", "times": 500})
    response = await visitor.http.get(f"{visitor.prefix}/{chat}/messages")

    assert response.headers["Content-Encoding"] == "gzip"
    assert "word word" in response.text


async def test_an_answer_is_read_on_and_stopped_through_any_process(visitor: Visitor) -> None:
    chat = new_id()
    async with visitor.starting(chat, {"count": 1_000_000, "every_ms": 5}) as response:
        first = await Reading(response).take(5)
    async with visitor.http.stream("GET", f"{visitor.prefix}/replay?id={chat}&from={first.cursor}") as response:
        reading = Reading(response)
        await reading.take(5)
        await expect(await visitor.stop(chat), 202)
        rest = await reading.rest()

    assert rest.complete
    numbers = [int(number) for number in (first.text + rest.text).split()]
    assert numbers == list(range(len(numbers)))


async def test_a_websocket_comes_through(site: Site, visitor: Visitor) -> None:
    await visitor.ask(new_id(), "I have a session.")
    chat = new_id()
    async with socket_of(visitor, Origin=site.nginx.base) as socket:
        assert (await socket.start(chat, "Hello."))["type"] == "started"
        heard = await socket.hear_until("end")

    assert "".join(one["chunk"].get("delta", "") for one in heard if one["type"] == "chunk") == "Hello."
    assert heard[-1]["reason"] == "finished"


async def test_the_redirect_keeps_the_path(site: Site) -> None:
    text = (site.nginx.directory / "nginx.conf").read_text()
    port = text.split("listen 127.0.0.1:")[1].split(";")[0]
    async with httpx.AsyncClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}/api/chat/replay?id=c1")

    assert (response.status_code, response.headers["Location"]) == (301, "https://127.0.0.1/api/chat/replay?id=c1")


@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "TLS and HTTP/2"])
async def test_one_process_that_drains_and_one_that_is_killed(nginx: Path, tmp_path: Path, has_tls: bool) -> None:
    first, second = servers_on(sqlite_log(tmp_path), tmp_path, SHUTDOWN_GRACE_SECONDS=PATIENCE_SECONDS)
    text, base = manual_site([first.port, second.port], tmp_path, has_tls=has_tls)
    with running(first), running(second), nginx_with(nginx, text, base, tmp_path) as proxy:
        site = Site(proxy, [first, second])
        chat = new_id()
        async with Visitor(first.base) as direct, site.visitor() as visitor, direct.starting(chat, {"gate": chat}, "!"):
            await direct.gate_reached(chat)
            first.terminate()
            await until_refused(direct)
            # All messages go to the other one now.
            for _ in range(5):
                assert (await visitor.ask(new_id(), "Hello.")).text == "Hello."
            async with visitor.starting(new_id(), {"count": 1_000_000, "every_ms": 5}) as response:
                reading = Reading(response)
                await reading.take(5)
                second.kill()
                torn = await reading.rest()
            assert not torn.complete

            # Nobody takes messages, and that is what people are told, whichever process is asked last.
            for _ in range(5):
                refused = await visitor.http.post(visitor.prefix, json=visitor.body(new_id(), "Hello."))
                assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (503, True)
                assert refused.text == "The server is restarting. Try again in a moment."
            # Readers are served by the one that drains.
            for _ in range(5):
                await expect(await visitor.http.get(f"{visitor.prefix}/{new_id()}/stream"), 204)

            second.restart()
            for _ in range(5):
                assert (await visitor.ask(new_id(), "Hello.")).text == "Hello."
            await direct.open_gate(chat)
        assert "no live upstreams" not in proxy.errors


async def until_refused(visitor: Visitor) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await visitor.http.post(visitor.prefix, json=visitor.body(new_id(), "Hello."))).status_code != 503:
            pass


@pytest.mark.parametrize("version", ["ai5", "ai7"])
async def test_nginx_as_it_comes_shows_nobody_a_torn_answer_as_a_whole_one(
    nginx: Path,
    make_server: Callable[..., Server],
    tmp_path: Path,
    ai_sdks: dict[str, NodeHost],
    version: str,
) -> None:
    """As read by the stock client, whose server is killed in mid-answer."""
    server = make_server("uvicorn")
    text, base = bare_site(server.port)
    with nginx_with(nginx, text, base, tmp_path):
        browser = await Browser(ai_sdks[version], base).arrive()
        tab = await browser.open(new_id())
        await tab.send({"count": 1_000_000, "every_ms": 5})
        settling, showing = asyncio.create_task(tab.settled()), asyncio.create_task(tab.shows("0 1 2 3 "))
        await asyncio.wait({settling, showing}, return_when=asyncio.FIRST_COMPLETED)
        showing.cancel()
        # One that speaks HTTP/1.1 by itself gets its stream, and shows that it breaks.
        server.kill()
        state = await settling

    assert state.status == "error"
    assert "proxy_http_version 1.1" in (state.error or "") or state.text.startswith("0 1 2 3 ")
