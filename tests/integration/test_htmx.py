"""htmx 2 with its SSE extension and htmx 4, unmodified, in a real browser on the manual's page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest

from .node_host import NodeHost
from .pages import Page
from .proxy import cutting_proxy, seeded_cuts
from .servers import Server
from .visitor import Step, Visitor, new_id

ON_BOTH_LOGS = pytest.mark.parametrize("server", ["daphne-sqlite", "uvicorn-s2"], indirect=True)

ANSWER = "#messages > article.assistant"
ENDED = f"{ANSWER} .answer[data-end]"
EVIL = (
    '<img src=x onerror="document.title=\'broken in\'"> & "quotes"\n\n  two  blanks\r\n'
    "\x01\x0c\x7f\x85\x9f\u2028\ufeff\ufffe\U0001f600"
)
SCRIPT: tuple[Step, ...] = ("Hello ", EVIL, "wor", "ld.\n")
SHOWN = ("Hello " + EVIL + "world.\n").replace("\r\n", "\n")


class ChatPage(Page):
    async def ask(self, *steps: Step) -> None:
        await self.call("fill", selector="textarea", text=json.dumps(steps))
        await self.click('button:has-text("Send")')

    async def texts(self, selector: str) -> list[str]:
        """Return the texts of elements, with every blank in them."""
        script = "export default (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent);"
        texts: list[str] = await self.call("run", script=script, given=[selector])
        return texts

    async def text(self) -> str:
        """Return what the last answer says."""
        return "".join(await self.texts(f"{ANSWER}:last-child .text"))

    async def shows(self, text: str) -> None:
        await self.call("wait", selector=f"{ANSWER}:has-text({json.dumps(text)})", state="attached")

    async def ended(self) -> str:
        """Wait for the end of the last answer, and return everything that the page then shows of the chat."""
        # The class is htmx's, for a moment.
        selector = f"{ANSWER}:last-child .answer[data-end]:not(.htmx-added)"
        await self.call("wait", selector=selector, state="attached")
        return str(await self.call("html", selector=f"{ANSWER}:last-child"))


@pytest.fixture(params=[2, 4], ids=["htmx2", "htmx4"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
async def control(server: Server) -> AsyncIterator[Visitor]:
    """A plain client of the same site, which has a session there."""
    async with Visitor(server.base, "/api/html") as visitor:
        await start(visitor, new_id(), "Hello.")
        yield visitor


async def start(visitor: Visitor, chat: str, *steps: Step) -> None:
    """Send a form, as the page does."""
    response = await visitor.http.post("/api/html", data={"id": chat, "message": json.dumps(steps)})
    assert response.status_code == 200, response.text


async def opened(
    browser: NodeHost, control: Visitor, version: int, chat: str, *, base: str | None = None, refuse: object = None
) -> ChatPage:
    """Open the page of a chat in the session of ``control``."""
    url = f"{base or str(control.http.base_url).rstrip('/')}/pages/htmx{version}/{chat}"
    return await ChatPage(browser, new_id()).open(url, cookies=dict(control.http.cookies), refuse=refuse)


async def assert_same_after_reload(page: ChatPage) -> None:
    shown = await page.ended()
    await page.call("reload")
    assert await page.ended() == shown


@ON_BOTH_LOGS
async def test_a_form_is_answered_and_the_page_stays_the_same_when_it_is_loaded_again(
    browser: NodeHost, control: Visitor, version: int
) -> None:
    page = await opened(browser, control, version, new_id())

    await page.ask(*SCRIPT)
    await page.ended()
    assert await page.text() == SHOWN
    await page.ask("Another ", "answer.")
    await page.shows("Another answer.")

    await assert_same_after_reload(page)
    assert await page.texts("article.user") == [json.dumps(SCRIPT), '["Another ", "answer."]']
    assert len(await page.texts(ANSWER)) == 2
    assert await page.texts("title") == ["Chat"]
    await page.assert_no_problems()


@ON_BOTH_LOGS
async def test_a_page_loaded_in_mid_answer_and_a_second_one_end_with_the_same(
    browser: NodeHost, control: Visitor, version: int
) -> None:
    chat = new_id()
    first = await opened(browser, control, version, chat)
    await first.ask("Hello ", EVIL, {"gate": chat}, "wor", "ld.\n")
    await control.gate_reached(chat)
    await first.shows("Hello ")
    second = await first.second_tab()
    await second.shows("Hello ")
    await first.call("reload")
    await first.shows("Hello ")

    await control.open_gate(chat)

    assert await first.ended() == await second.ended()
    assert await first.text() == await second.text() == SHOWN
    await assert_same_after_reload(first)
    await second.assert_no_problems()


@ON_BOTH_LOGS
async def test_a_page_whose_connections_are_cut_and_refused_ends_with_the_right_content(
    browser: NodeHost, control: Visitor, server: Server, version: int
) -> None:
    chat = new_id()
    async with cutting_proxy(server.port) as proxy:
        # The page itself takes some 3000 bytes; the events go on in the same connection.
        proxy.bytes_before_cut = seeded_cuts(version, 5000, 11000)
        await start(control, chat, {"count": 100, "every_ms": 1}, EVIL, {"gate": chat}, {"count": 100, "every_ms": 1})
        refuse = {"path": "**/stream?*", "request": 2}
        page = await opened(browser, control, version, chat, base=proxy.base, refuse=refuse)
        await page.shows("10 ")
        await control.open_gate(chat)

        shown = await page.ended()
        counted = "".join(f"{number} " for number in range(100))
        assert await page.text() == counted + EVIL.replace("\r\n", "\n") + counted
        assert proxy.cuts > 1

    whole = await opened(browser, control, version, chat)
    assert await whole.ended() == shown


@ON_BOTH_LOGS
async def test_a_stop_shows_in_every_page(browser: NodeHost, control: Visitor, version: int) -> None:
    chat = new_id()
    first = await opened(browser, control, version, chat)
    await first.ask("Not the whole ", {"gate": chat}, "answer.")
    await first.shows("Not the whole ")
    second = await first.second_tab()

    await second.click('button:has-text("Stop")')

    assert await first.ended() == await second.ended()
    assert await first.text() == "Not the whole "
    await first.sees(f'{ENDED} .notice:has-text("Stopped.")')
    await assert_same_after_reload(second)


@ON_BOTH_LOGS
async def test_a_failure_is_told_in_our_words(browser: NodeHost, control: Visitor, version: int) -> None:
    page = await opened(browser, control, version, new_id())

    await page.ask("Half an ", {"fail": "secret detail"})

    shown = await page.ended()
    assert "An error occurred." in shown
    assert "secret" not in shown
    assert await page.text() == "Half an "
    await assert_same_after_reload(page)


@ON_BOTH_LOGS
async def test_who_asks_again_after_the_end_is_told_it_again(control: Visitor) -> None:
    chat = new_id()
    await start(control, chat, "Hello.")
    async with control.http.stream("GET", f"/api/html/{chat}/stream?from=0") as response:
        whole = (await response.aread()).decode()
    last = whole.strip().split("\n\n")[-1].split("\n")
    assert last[0] == "event: end"

    headers = {"Last-Event-ID": last[1].removeprefix("id: ")}
    again = await control.http.get(f"/api/html/{chat}/stream?from=0", headers=headers)
    nothing = await control.http.get(f"/api/html/{new_id()}/stream")

    for response in (again, nothing):
        assert (response.status_code, response.headers["Content-Type"]) == (200, "text/event-stream")
        assert response.text.endswith("event: end\ndata: {}\n\n")


async def test_a_page_outlives_its_server_and_tells_that_the_answer_was_interrupted(
    browser: NodeHost, make_server: Callable[..., Server], version: int
) -> None:
    killed = make_server("uvicorn", LEASE_SECONDS=1)
    async with Visitor(killed.base, "/api/html") as visitor:
        await start(visitor, new_id(), "Hello.")
        chat = new_id()
        page = await opened(browser, visitor, version, chat)
        await page.ask("Half an ", {"gate": chat}, "answer.")
        await page.shows("Half an ")

        killed.kill()
        killed.restart()

        assert 'data-end="interrupted"' in await page.ended()
        assert await page.text() == "Half an "
        await assert_same_after_reload(page)
