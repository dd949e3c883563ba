"""The example project in a real browser, as a person uses it: ``python manage.py runserver``, and a page."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from ..support.patience import PATIENCE_SECONDS
from .log import Log
from .node_host import NodeHost
from .pages import Page
from .servers import Server, free_port
from .visitor import expect, new_id

WORDS = 160
FIRST_HALF = 40
"""The words before the answer waits for the test."""
QUESTION = "How does counting work?"
ANSWER = "article.assistant"


@pytest.fixture
def example(log: Log, tmp_path: Path) -> Iterator[Server]:
    """The example project, whose README has one section: a count from word1 to word160."""
    readme = tmp_path / "README.md"
    counted = " ".join(f"word{number}" for number in range(1, WORDS + 1))
    readme.write_text(f"# Example\n\n## How counting works\n\n{counted}\n")
    port = free_port()
    server = Server(
        [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
        port=port,
        directory=tmp_path,
        log=log,
        environment={
            "DJANGO_SETTINGS_MODULE": "tests.integration.example_settings",
            "TEST_EXAMPLE_README": str(readme),
            "TEST_EXAMPLE_GATE_AFTER": f"word{FIRST_HALF}",
            "DEMO_WORD_SECONDS": "0.005",
            "OPENAI_BASE_URL": "",
            "OPENAI_API_KEY": "",
        },
        LEASE_SECONDS=2,
        HISTORY_TURNS=2,
    )
    server.start()
    yield server
    server.kill()


class ChatPage(Page):
    """The example's page."""

    async def ask(self, question: str) -> None:
        await self.call("fill", selector="#prompt", text=question)
        await self.call("press", selector="#prompt", key="Enter")

    async def sees_half(self) -> None:
        """Wait until the page shows what there is before the gate."""
        await self.sees(f'{ANSWER}:has-text("word{FIRST_HALF}")')

    async def words(self) -> list[int]:
        """Return the numbers of the words that the last answer shows."""
        text = (await self.call("texts", selector=f"{ANSWER} .parts"))[-1]
        return [int(number) for number in re.findall(r"word(\d+)", text)]


async def open_gate(example: Server) -> None:
    """Let the answer go on that waits after its first half, and those to come not wait at all."""
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        await expect(await client.post(f"{example.base}/gate"), 204)


NewVisitor = Callable[[], ChatPage]


@pytest.fixture
def new_visitor(browser: NodeHost) -> NewVisitor:
    return lambda: ChatPage(browser, new_id())


async def assert_whole(page: ChatPage) -> None:
    await page.sees(f"{ANSWER}[data-state=finished]")
    assert await page.words() == list(range(1, WORDS + 1))


async def test_a_question_is_answered_with_rendered_markdown(example: Server, new_visitor: NewVisitor) -> None:
    page = await new_visitor().open(example.base)
    await open_gate(example)

    await page.ask(QUESTION)

    await assert_whole(page)
    assert await page.call("texts", selector=f"{ANSWER} h3") == ["How counting works"]
    await page.assert_no_problems()


# Sends a question as soon as the page's script has run, and lets it have no frame.
IN_A_HURRY = """
requestAnimationFrame = () => 0;
addEventListener("DOMContentLoaded", () => {
  const prompt = document.getElementById("prompt");
  prompt.value = "How does counting work?";
  prompt.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", cancelable: true }));
});
"""


@pytest.mark.parametrize("log", ["sqlite"], indirect=True)
async def test_a_question_that_is_sent_before_the_page_is_drawn_is_answered(
    example: Server, new_visitor: NewVisitor
) -> None:
    await open_gate(example)

    await assert_whole(await new_visitor().open(example.base, before=IN_A_HURRY))


async def test_a_page_reloaded_in_mid_answer_goes_on(example: Server, new_visitor: NewVisitor) -> None:
    page = await new_visitor().open(example.base)
    await page.ask(QUESTION)
    await page.sees_half()

    await page.call("reload")

    await page.sees(f"{ANSWER}[data-state=running]")
    await open_gate(example)
    await assert_whole(page)
    await page.assert_no_problems()


async def test_a_second_tab_follows_and_the_chat_is_there_when_it_is_opened_again(
    example: Server, new_visitor: NewVisitor
) -> None:
    first = await new_visitor().open(example.base)
    await first.ask(QUESTION)
    await first.sees_half()

    second = await first.second_tab()
    await second.sees(f"{ANSWER}[data-state=running]")
    await second.sees('#connection[data-state=live]:has-text("WebSocket")')
    await second.ask("Nobody reads this: the answer is still being written.")
    await open_gate(example)

    await assert_whole(first)
    await assert_whole(second)
    await assert_whole(await first.second_tab())
    await first.assert_no_problems()
    await second.assert_no_problems()


async def test_what_is_asked_in_one_tab_is_answered_in_both(example: Server, new_visitor: NewVisitor) -> None:
    first = await new_visitor().open(example.base)
    await open_gate(example)
    await first.ask(QUESTION)
    await assert_whole(first)
    second = await first.second_tab()
    await assert_whole(second)

    await second.ask("And how does counting work again?")

    for page in (first, second):
        await page.sees('article.user:has-text("again")')
        await page.sees(f"article.user + {ANSWER} + article.user + {ANSWER}[data-state=finished]")
        assert await page.words() == list(range(1, WORDS + 1))
        await page.assert_no_problems()


@pytest.mark.parametrize("log", ["sqlite"], indirect=True)
async def test_earlier_messages_of_a_long_chat_are_shown_on_request(example: Server, new_visitor: NewVisitor) -> None:
    page = await new_visitor().open(example.base)
    await open_gate(example)
    for number in range(1, 4):
        await page.ask(f"How does counting work, {number}?")
        await page.sees(f":nth-match({ANSWER}[data-state=finished], {number})")
    await page.call("reload")
    await page.sees("#earlier")
    newest = await page.call("texts", selector="article.user")

    await page.click("#earlier")

    await page.sees(f":nth-match({ANSWER}[data-state=finished], 3)")
    whole = await page.call("texts", selector="article.user")
    assert ([len(newest), len(whole)], whole[1:]) == ([2, 3], newest)
    assert "counting work, 1?" in whole[0]
    await page.call("wait", selector="#earlier", state="hidden")
    await page.assert_no_problems()


async def test_a_stop_shows_in_every_tab(example: Server, new_visitor: NewVisitor) -> None:
    first = await new_visitor().open(example.base)
    await first.ask(QUESTION)
    await first.sees_half()
    second = await first.second_tab()
    await second.sees_half()

    await second.click("#stop")

    for page in (first, second):
        await page.sees(f"{ANSWER}[data-state=stopped] .badge")
        assert await page.words() == list(range(1, FIRST_HALF + 1))
    await first.assert_no_problems()


async def test_a_cut_connection_resumes_where_it_was(example: Server, new_visitor: NewVisitor) -> None:
    page = await new_visitor().open(example.base)
    await page.ask(QUESTION)
    await page.sees_half()

    await page.click("#log-toggle")
    # The cut lasts some seconds: whoever begins to look after it may miss it.
    await asyncio.gather(page.sees("#connection[data-state=cut]"), page.click("#cut"))
    await open_gate(example)

    await page.sees('#connection[data-state=live]:has-text("WebSocket")')
    await assert_whole(page)
    await page.assert_no_problems()


@pytest.mark.parametrize("log", ["sqlite"], indirect=True)
async def test_a_browser_without_websockets_follows_an_event_stream(example: Server, new_visitor: NewVisitor) -> None:
    first = await new_visitor().open(example.base)
    await first.ask(QUESTION)
    await first.sees_half()

    second = await first.second_tab(without=["WebSocket"])

    await second.sees('#connection[data-state=live]:has-text("event stream")')
    await open_gate(example)
    await assert_whole(second)
    await second.assert_no_problems()


async def test_an_answer_whose_server_was_killed_is_kept_and_marked_as_interrupted(
    example: Server, new_visitor: NewVisitor
) -> None:
    page = await new_visitor().open(example.base)
    await page.ask(QUESTION)
    await page.sees_half()

    example.kill()
    example.restart()

    await page.sees(f'{ANSWER}[data-state=interrupted] .badge:has-text("interrupted")')
    assert await page.words() == list(range(1, FIRST_HALF + 1))

    await page.call("reload")
    await page.sees(f'{ANSWER}[data-state=interrupted] .badge:has-text("interrupted")')
    assert await page.words() == list(range(1, FIRST_HALF + 1))

    await open_gate(example)
    await page.ask(QUESTION)
    await assert_whole(page)


async def test_a_stranger_finds_nothing_at_the_address_of_a_chat(example: Server, new_visitor: NewVisitor) -> None:
    page = await new_visitor().open(example.base)
    await page.ask(QUESTION)
    await page.sees_half()

    stranger = await new_visitor().open(await page.call("url"))

    await stranger.sees("#welcome")
    assert await stranger.call("texts", selector="article") == []
    await open_gate(example)
    await assert_whole(page)
