"""Streams of strings over HTTP: servers that are real, clients that leave, processes that die."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from tests.support.manual import code_blocks

from ..support.patience import PATIENCE_SECONDS
from .conftest import make_log, running
from .log import Log, fences_of
from .node_host import NodeHost
from .servers import Server, scripted_server
from .visitor import expect, new_id


@pytest.fixture(scope="module", params=["daphne-sqlite", "uvicorn-s2"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    kind, _, log = request.param.partition("-")
    directory = tmp_path_factory.mktemp(request.param)
    made = make_log(request, log, directory)
    with running(scripted_server(kind, directory, log=made, settings_module="story_settings")) as server:
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base, timeout=PATIENCE_SECONDS) as http:
        yield http


def about(*steps: Any) -> dict[str, str]:
    """Return the body that asks for a story."""
    return {"topic": json.dumps(steps)}


class Told:
    """What came of a story."""

    def __init__(self) -> None:
        self.text = ""
        self.is_complete = False
        self._news = asyncio.Event()

    async def has(self, text: str) -> None:
        """Wait until so much has been told."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while text not in self.text:
                self._news.clear()
                await self._news.wait()

    async def listen(self, http: httpx.AsyncClient, method: str, url: str, *steps: Any) -> Told:
        options = {"json": about(*steps)} if steps else {}
        try:
            async with http.stream(method, url, **options) as response:
                await expect(response, 200)
                async for text in response.aiter_text():
                    self.text += text
                    self._news.set()
            self.is_complete = True
        except httpx.TransportError:
            self.is_complete = False
        return self


async def open_gate(http: httpx.AsyncClient, name: str) -> None:
    await expect(await http.post(f"/gates/{name}/open"), 204)


async def test_a_story_goes_on_without_its_listener_and_is_there_for_the_next(http: httpx.AsyncClient) -> None:
    name = new_id()
    url = f"/stories/{name}"
    async with http.stream("POST", url, json=about("Bef\u00f6re. ", {"gate": name}, "After.")) as response:
        heard = ""
        async with aclosing(response.aiter_text()) as parts:  # type: ignore[type-var]
            while heard != "Bef\u00f6re. ":
                heard += await anext(parts)
    joined, resumed = Told(), Told()
    listening = [
        asyncio.create_task(joined.listen(http, "POST", url, "Not this.")),
        asyncio.create_task(resumed.listen(http, "GET", url)),
    ]
    for told in (joined, resumed):
        await told.has("Bef\u00f6re. ")
    await open_gate(http, name)

    for told in (*[await task for task in listening], await Told().listen(http, "GET", url)):
        assert (told.text, told.is_complete) == ("Bef\u00f6re. After.", True)
    again = await http.post(url, json=about("Not this."))
    assert (again.status_code, again.text) == (422, "Stream is already done")
    assert (await http.get("/stories/unknown")).status_code == 422


async def test_a_story_is_stopped_by_another_request(http: httpx.AsyncClient) -> None:
    name = new_id()
    told = asyncio.create_task(Told().listen(http, "POST", f"/stories/{name}", "Before. ", {"gate": name}))
    await expect(await http.get(f"/gates/{name}/reached"), 204)
    await expect(await http.delete(f"/stories/{name}"), 202)
    await expect(await http.delete(f"/stories/{name}"), 204)

    assert ((await told).text, (await told).is_complete) == ("Before. ", True)


async def test_a_page_tells_it_with_the_manuals_lines(server: Server, start_node: Callable[..., NodeHost]) -> None:
    (lines,) = code_blocks("docs/generic-streams.md", "js")
    script = f"""
        export default async (id, topic) => {{
          const story = {{ textContent: "" }};
          const csrfToken = "none";
          {lines}
          return story.textContent;
        }};
    """
    host = start_node("streams.mjs")
    await host.call("visit", base=server.base, headers={})
    given = [new_id(), about("Once \u00fcpon ", "a time.")["topic"]]

    assert await host.call("run", script=script, given=given) == "Once \u00fcpon a time."


# Daphne leaves a client whose response was broken off waiting, until its own timeout.
@pytest.mark.parametrize("server", ["uvicorn-sqlite", "uvicorn-s2"], indirect=True)
async def test_a_story_that_fails_is_broken_off_now_and_later(http: httpx.AsyncClient) -> None:
    url = f"/stories/{new_id()}"
    for told in (
        await Told().listen(http, "POST", url, "Before. ", {"fail": "asleep"}),
        await Told().listen(http, "GET", url),
    ):
        assert (told.text, told.is_complete) == ("Before. ", False)


async def test_after_sigkill_what_was_told_is_there_and_known_not_to_be_whole(
    make_server: Callable[..., Server], log: Log
) -> None:
    server = make_server("uvicorn", log=log, settings_module="story_settings", LEASE_SECONDS=1)
    name = new_id()
    url = f"/stories/{name}"
    async with httpx.AsyncClient(base_url=server.base, timeout=PATIENCE_SECONDS) as http:
        told = Told()
        listening = asyncio.create_task(told.listen(http, "POST", url, {"count": 1_000_000, "every_ms": 1}))
        await told.has("50 ")
        server.kill()
        await listening
        server.restart()
        resumed = await Told().listen(http, "GET", url)

    assert not told.is_complete
    assert not resumed.is_complete
    assert resumed.text.startswith(told.text)
    numbers = [int(number) for number in resumed.text.split()]
    assert numbers == list(range(len(numbers)))
    assert fences_of(await log.records_of(name, prefix="stream/")) == ["claim", "interrupted"]
