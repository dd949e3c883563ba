"""Our transport for the AI SDK, in the stock chat class of each version, over connections that break.

A chat shows an error only where the server has refused or the answer has failed; what the log holds, it shows once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ..backends.fault_proxy import Fault, FaultProxy, fault_proxy
from .log import sqlite_log
from .node_host import NodeHost
from .proxy import cutting_proxy
from .servers import Server
from .tabs import AI_SDKS, Browser, Tab, TabState
from .test_aisdk_continuation import call, shown_parts
from .visitor import Visitor, new_id

ON_A_SERVER = pytest.mark.parametrize("server", ["uvicorn-sqlite"], indirect=True)
IN_EVERY_VERSION = pytest.mark.parametrize("version", AI_SDKS)
QUICK = "timing: { firstDelayMs: 20, longestDelayMs: 200 }"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def browser(version: str, ai_sdks: dict[str, NodeHost], server: Server) -> Browser:
    return await Browser(ai_sdks[version], server.base).arrive()


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(server.port) as proxy:
        yield proxy


async def opened(browser: Browser, chat: str, base: str | None = None, options: str = QUICK) -> Tab:
    return await browser.open(chat, base=base, way="resumable", options=options)


async def assert_shows_the_log(browser: Browser, chat: str, state: TabState, text: str) -> None:
    """Fail unless the tab shows ``text``, without an error, and just what the server tells of a chat of one answer."""
    assert (state.status, state.error, state.text) == ("ready", None, text)
    async with await browser.visitor() as visitor:
        told = await visitor.messages(chat)
    assert len(told["generations"]) == 1
    in_log, shown = ([(one["id"], one["role"]) for one in messages] for messages in (told["messages"], state.messages))
    assert in_log == shown


async def browser_messages(browser: Browser, chat: str) -> list[dict[str, Any]]:
    async with await browser.visitor() as visitor:
        messages: list[dict[str, Any]] = (await visitor.messages(chat))["messages"]
        return messages


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_answer_is_whole_after_two_cuts(browser: Browser, server: Server, control: Visitor) -> None:
    chat, gates = new_id(), (new_id(), new_id())
    async with cutting_proxy(server.port) as proxy:
        tab = await opened(browser, chat, proxy.base)
        await tab.send("One, ", {"gate": gates[0]}, "two, ", {"gate": gates[1]}, "three.")
        for gate, text in zip(gates, ("One, ", "One, two, "), strict=True):
            await tab.shows(text)
            proxy.go_down()
            proxy.is_down = False
            await control.open_gate(gate)

        await assert_shows_the_log(browser, chat, await tab.settled(), "One, two, three.")


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_answer_that_ended_meanwhile_is_whole(browser: Browser, server: Server, control: Visitor) -> None:
    chat = new_id()
    async with cutting_proxy(server.port) as proxy:
        tab = await opened(browser, chat, proxy.base)
        await tab.send("Half ", {"gate": chat}, "and whole.")
        await tab.shows("Half ")
        proxy.go_down()
        await control.open_gate(chat)
        async with await browser.visitor() as visitor:
            await visitor.ended(chat)
            # A newer answer is not taken for the rest of this one.
            await visitor.ask(chat, "The next one.")
        proxy.is_down = False

        state = await tab.settled()

    assert (state.status, state.error, state.text) == ("ready", None, "Half and whole.")


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_question_whose_response_is_lost_is_answered_once(browser: Browser, proxy: FaultProxy) -> None:
    chat = new_id()
    # The first answer brings the visitor's session, to which the chat belongs.
    first = await opened(browser, new_id())
    await first.send("Hello.")
    await first.settled()
    tab = await opened(browser, chat, proxy.url)
    proxy.fault = Fault.CUT_AFTER

    await tab.send({"gate": chat}, "Only once.")
    await proxy.hit.wait()
    async with await browser.visitor() as visitor:
        assert len((await visitor.messages(chat))["generations"]) == 1
        proxy.fault = Fault.NONE
        await visitor.open_gate(chat)

    await assert_shows_the_log(browser, chat, await tab.settled(), "Only once.")


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_question_asked_offline_is_sent_later(browser: Browser) -> None:
    chat = new_id()
    tab = await opened(browser, chat)
    await tab.go_offline()
    await tab.send("Here I am.")
    await tab.go_online()

    await assert_shows_the_log(browser, chat, await tab.settled(), "Here I am.")


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_busy_server_is_asked_again(browser: Browser, proxy: FaultProxy, control: Visitor) -> None:
    chat = new_id()
    tab = await opened(browser, chat, proxy.url)
    proxy.reply = BUSY
    await tab.send("Half ", {"gate": chat}, "and whole.")
    await tab.responds()
    proxy.reply = None
    await tab.shows("Half ")
    proxy.reply = BUSY
    await control.open_gate(chat)
    async with await browser.visitor() as visitor:
        await visitor.ended(chat)
    proxy.reply = None

    await assert_shows_the_log(browser, chat, await tab.settled(), "Half and whole.")


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_tab_that_opens_in_mid_answer_follows_it_over_a_cut(
    browser: Browser, server: Server, control: Visitor
) -> None:
    chat = new_id()
    first = await opened(browser, chat)
    await first.send("Half ", {"gate": chat}, "and whole.")
    await first.shows("Half ")
    (question,) = await browser_messages(browser, chat)
    async with cutting_proxy(server.port) as proxy:
        second = await browser.open(chat, base=proxy.base, way="resumable", options=QUICK, messages=[question])
        await second.resume()
        await second.shows("Half ")
        proxy.go_down()
        proxy.is_down = False
        await control.open_gate(chat)

        await assert_shows_the_log(browser, chat, await second.settled(), "Half and whole.")
    assert (await first.settled()).text == "Half and whole."


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_continued_answer_is_whole_after_a_cut(browser: Browser, server: Server, control: Visitor) -> None:
    chat, gate = new_id(), new_id()
    steps = call("It says ", {"gate": gate}, "yes.")
    async with cutting_proxy(server.port) as proxy:
        first = await opened(browser, chat, proxy.base)
        await first.send(*steps)
        await first.settled()
        await first.put_output("c1", "yes")
        await first.go_on()
        await first.shows("It says ")
        (question, _) = await browser_messages(browser, chat)
        second = await browser.open(chat, base=proxy.base, way="resumable", options=QUICK, messages=[question])
        await second.resume()
        await second.shows("It says ")
        proxy.go_down()
        proxy.is_down = False
        await control.open_gate(gate)
        states = [await first.settled(), await second.settled()]

    told = await browser_messages(browser, chat)
    for state in states:
        assert (state.status, state.error, state.text) == ("ready", None, "Let me ask.It says yes.")
        assert shown_parts(state.messages) == shown_parts(told)


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_tab_of_a_chat_in_which_nothing_runs_stays_ready(browser: Browser) -> None:
    tab = await opened(browser, new_id())

    await tab.resume()

    state = await tab.settled()
    assert (state.status, state.messages) == ("ready", [])


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_stop_ends_the_answer_and_leaving_does_not(browser: Browser, control: Visitor) -> None:
    left, stopped = new_id(), new_id()
    for chat in (left, stopped):
        tab = await opened(browser, chat)
        await tab.send("Half ", {"gate": chat}, "and whole.")
        await tab.shows("Half ")
        if chat == left:
            await tab.stop()
        else:
            assert await tab.stop_answer()
        state = await tab.settled()
        assert (state.status, state.error, state.text) == ("ready", None, "Half ")
        await control.open_gate(chat)

    assert not await tab.stop_answer()
    async with await browser.visitor() as visitor:
        assert [await visitor.ended(chat) for chat in (left, stopped)] == ["finished", "stopped"]


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_stop_while_the_connection_is_lost_leaves_the_chat_ready(
    browser: Browser, server: Server, control: Visitor
) -> None:
    chat = new_id()
    async with cutting_proxy(server.port) as proxy:
        tab = await opened(browser, chat, proxy.base)
        await tab.send("Half ", {"gate": chat}, "and whole.")
        await tab.shows("Half ")
        proxy.go_down()

        await tab.stop()

        state = await tab.settled()
    await control.open_gate(chat)
    assert (state.status, state.error, state.text) == ("ready", None, "Half ")


@ON_A_SERVER
@IN_EVERY_VERSION
async def test_refusals_and_failures_are_shown(browser: Browser, server: Server, control: Visitor) -> None:
    chat = new_id()
    tab = await opened(browser, chat)
    await tab.send({"type": "error", "errorText": "The model is tired."})
    failed = await tab.settled()
    await tab.send("Half ", {"gate": chat}, "and whole.")
    await tab.shows("Half ")
    second, misnamed = await opened(browser, chat), await opened(browser, "no such chat")
    without_token = await opened(browser, new_id(), options=f"headers: {{}}, {QUICK}")
    misrouted = await opened(browser, new_id(), f"{server.base}/nowhere")

    errors = []
    for refused in (second, misnamed, without_token, misrouted):
        await refused.send("Hello.")
        state = await refused.settled()
        assert state.status == "error"
        errors.append(state.error)

    await control.open_gate(chat)
    await tab.settled()
    assert (failed.status, failed.error) == ("error", "The model is tired.")
    assert errors == [
        "An answer is already being written in this chat. Wait for it to end, or stop it first.",
        "The chat's id must be a string of 1 to 128 letters, digits or . _ : ~ = | + @ - (send it as 'id').",
        "The server answered 403.",
        "The server answered 404.",
    ]


@pytest.mark.parametrize("version", ["ai6"])
async def test_restarted_server_goes_on(
    version: str, ai_sdks: dict[str, NodeHost], make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """The page's server is killed in mid-answer, which another process on the same log writes."""
    log = sqlite_log(tmp_path)
    pages, writer = make_server("uvicorn", log=log), make_server("uvicorn", log=log)
    chat = new_id()
    browser = await Browser(ai_sdks[version], pages.base).arrive()
    async with Visitor(writer.base) as control:
        asking = await opened(browser, chat, writer.base)
        await asking.send("Half ", {"gate": chat}, "and whole.")
        await asking.shows("Half ")
        (question,) = await browser_messages(browser, chat)
        tab = await browser.open(chat, way="resumable", options=QUICK, messages=[question])
        await tab.resume()
        await tab.shows("Half ")
        pages.kill()
        await control.open_gate(chat)
        pages.restart()

        await assert_shows_the_log(browser, chat, await tab.settled(), "Half and whole.")
        await asking.settled()


@pytest.mark.parametrize("version", ["ai7"])
async def test_answer_whose_server_was_killed_keeps_what_was_written(
    version: str, ai_sdks: dict[str, NodeHost], make_server: Callable[..., Server]
) -> None:
    server = make_server("uvicorn", LEASE_SECONDS=1)
    chat = new_id()
    browser = await Browser(ai_sdks[version], server.base).arrive()
    tab = await opened(browser, chat)
    await tab.send("Half ", {"gate": chat}, "and whole.")
    await tab.shows("Half ")
    server.kill()
    server.restart()

    state = await tab.settled()
    assert (state.status, state.text) == ("error", "Half ")
    async with await browser.visitor() as visitor:
        assert await visitor.ended(chat) == "interrupted"
    await tab.send("Next.")
    assert (await tab.settled()).text == "Next."
