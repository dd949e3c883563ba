"""The stock ``ai`` package from npm, unmodified, against running servers.

``AbstractChat`` and ``DefaultChatTransport`` of each maintained version run under Node; what they hold in the end is
compared with what an uninterrupted reader holds, and with what the server tells of the chat.
"""

from __future__ import annotations

from itertools import product

import pytest

from .node_host import NodeHost
from .proxy import cutting_proxy
from .servers import Server
from .tabs import AI_SDKS, Browser, Tab, TabState
from .visitor import Step, Visitor, new_id

# Each version with each server on the embedded log; on S2 each version once, and both servers.
ON_S2 = (("daphne-s2", "ai5"), ("daphne-s2", "ai6"), ("uvicorn-s2", "ai7"))
WAYS = (*product(("daphne-sqlite", "uvicorn-sqlite"), AI_SDKS), *ON_S2)
pytestmark = pytest.mark.parametrize(("server", "version"), WAYS, indirect=["server"], scope="module")
BUSY = "An answer is already being written in this chat. Wait for it to end, or stop it first."

RICH: tuple[Step, ...] = (
    {"type": "start-step"},
    {"type": "reasoning-start", "id": "r1"},
    {"type": "reasoning-delta", "id": "r1", "delta": "The weather "},
    {"type": "reasoning-delta", "id": "r1", "delta": "is asked for."},
    {"type": "reasoning-end", "id": "r1"},
    {"type": "tool-input-start", "toolCallId": "c1", "toolName": "weather"},
    {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"city":'},
    {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '"Bern"}'},
    {"type": "tool-input-available", "toolCallId": "c1", "toolName": "weather", "input": {"city": "Bern"}},
    {"type": "tool-output-available", "toolCallId": "c1", "output": {"degrees": 17}},
    {"type": "finish-step"},
    {"type": "start-step"},
    {"type": "data-progress", "id": "p1", "data": {"percent": 10}},
    {"type": "data-progress", "id": "p1", "data": {"percent": 100}},
    {"type": "data-ping", "data": 1, "transient": True},
    {"type": "source-url", "sourceId": "s1", "url": "https://example.org/bern", "title": "Bern"},
    {"type": "source-document", "sourceId": "s2", "mediaType": "application/pdf", "title": "Climate"},
    {"type": "file", "url": "data:text/plain,17", "mediaType": "text/plain"},
    "In Bern it is ",
    "17 °C.\u2028\u0000 \N{SUN WITH FACE}",
    {"type": "finish-step"},
    {"type": "message-metadata", "messageMetadata": {"model": "scripted"}},
)
RICH_TEXT = "In Bern it is 17 °C.\u2028\u0000 \N{SUN WITH FACE}"


@pytest.fixture
async def browser(version: str, ai_sdks: dict[str, NodeHost], server: Server) -> Browser:
    return await Browser(ai_sdks[version], server.base).arrive()


async def told_by_server(browser: Browser, chat: str) -> list[dict[str, object]]:
    async with await browser.visitor() as visitor:
        messages: list[dict[str, object]] = (await visitor.messages(chat))["messages"]
        return messages


def assert_finished(state: TabState, text: str) -> None:
    assert (state.status, state.error, state.text) == ("ready", None, text)


async def sent(browser: Browser, chat: str, *steps: Step) -> Tab:
    tab = await browser.open(chat)
    await tab.send(*steps)
    # Nobody else in the browser can ask for the chat before its session has come.
    await tab.responds()
    return tab


async def test_an_answer_arrives_whole(browser: Browser) -> None:
    chat = new_id()

    state = await (await sent(browser, chat, "Hello ", "there.")).settled()

    assert_finished(state, "Hello there.")
    assert await told_by_server(browser, chat) == state.messages


async def test_rich_chunks_become_the_parts_that_the_client_builds(browser: Browser) -> None:
    chat = new_id()

    state = await (await sent(browser, chat, *RICH)).settled()

    assert_finished(state, RICH_TEXT)
    assert state.answer["metadata"] == {"model": "scripted"}
    parts = {part["type"]: part for part in state.answer["parts"]}
    assert parts["reasoning"]["text"] == "The weather is asked for."
    assert parts["tool-weather"]["input"] == {"city": "Bern"}
    assert parts["tool-weather"]["output"] == {"degrees": 17}
    assert parts["data-progress"]["data"] == {"percent": 100}
    assert parts["source-url"]["url"] == "https://example.org/bern"
    assert parts["source-document"]["title"] == "Climate"
    assert parts["file"]["mediaType"] == "text/plain"
    assert await told_by_server(browser, chat) == state.messages


@pytest.mark.parametrize("at", range(0, len(RICH) + 1, 3))
async def test_a_second_client_resumes_in_mid_answer(browser: Browser, control: Visitor, at: int) -> None:
    chat, gate = new_id(), new_id()
    first = await sent(browser, chat, *RICH[:at], {"gate": gate}, *RICH[at:])
    await control.gate_reached(gate)

    second = await browser.open(chat, messages=await told_by_server(browser, chat))
    await second.resume()
    await control.open_gate(gate)

    uninterrupted = await first.settled()
    resumed = await second.settled()
    assert_finished(resumed, RICH_TEXT)
    assert resumed.messages == uninterrupted.messages


async def test_a_client_resumes_just_before_the_end(browser: Browser, control: Visitor) -> None:
    chat, gate = new_id(), new_id()
    first = await sent(browser, chat, "All but ", "the end.", {"gate": gate})
    await first.shows("All but the end.")

    second = await browser.open(chat, messages=await told_by_server(browser, chat))
    await second.resume()
    await second.shows("All but the end.")
    await control.open_gate(gate)

    uninterrupted = await first.settled()
    resumed = await second.settled()
    assert_finished(resumed, "All but the end.")
    assert resumed.messages == uninterrupted.messages


async def test_a_page_that_has_the_whole_answer_keeps_it(browser: Browser) -> None:
    chat = new_id()
    first = await (await sent(browser, chat, "Over.")).settled()

    tab = await browser.open(chat, messages=await told_by_server(browser, chat))
    await tab.resume()

    resumed = await tab.settled()
    assert_finished(resumed, "Over.")
    assert resumed.messages == first.messages


async def test_a_second_tab_follows_from_the_very_beginning(browser: Browser, control: Visitor) -> None:
    chat, gate = new_id(), new_id()
    first = await sent(browser, chat, {"gate": gate}, {"count": 50, "every_ms": 2})
    await control.gate_reached(gate)

    second = await browser.open(chat, messages=await told_by_server(browser, chat))
    await second.resume()
    await control.open_gate(gate)

    uninterrupted = await first.settled()
    resumed = await second.settled()
    assert_finished(resumed, "".join(f"{number} " for number in range(50)))
    assert resumed.messages == uninterrupted.messages


async def test_a_client_whose_connection_broke_resumes_and_holds_the_whole_answer(
    browser: Browser, control: Visitor, server: Server
) -> None:
    chat, gate = new_id(), new_id()
    async with cutting_proxy(server.port) as proxy:
        # Enough for the headers and the first chunks.
        proxy.bytes_before_cut = lambda: 1500
        tab = await browser.open(chat, base=proxy.base)
        await tab.send({"count": 40, "every_ms": 0}, {"gate": gate}, "end.")
        broken = await tab.settled()
        assert broken.status == "error"
        assert proxy.cuts == 1

        proxy.bytes_before_cut = lambda: None
        await tab.resume()
        await control.open_gate(gate)
        resumed = await tab.settled()

    assert_finished(resumed, "".join(f"{number} " for number in range(40)) + "end.")
    assert await told_by_server(browser, chat) == resumed.messages


async def test_a_client_that_was_away_when_the_answer_ended_holds_the_whole_answer(
    browser: Browser, control: Visitor, server: Server
) -> None:
    chat, gate = new_id(), new_id()
    async with cutting_proxy(server.port) as proxy:
        proxy.bytes_before_cut = lambda: 1500
        tab = await browser.open(chat, base=proxy.base)
        await tab.send({"count": 40, "every_ms": 0}, {"gate": gate}, "end.")
        broken = await tab.settled()
        await control.open_gate(gate)
        async with await browser.visitor() as visitor:
            await visitor.ended(chat)
        proxy.bytes_before_cut = lambda: None
        await tab.resume()
        resumed = await tab.settled()

    assert (broken.status, "end." in broken.text) == ("error", False)
    assert_finished(resumed, "".join(f"{number} " for number in range(40)) + "end.")
    assert [message["role"] for message in resumed.messages] == ["user", "assistant"]
    assert await told_by_server(browser, chat) == resumed.messages


async def test_a_client_that_left_finds_the_answer_still_running(browser: Browser, control: Visitor) -> None:
    chat, gate = new_id(), new_id()
    tab = await sent(browser, chat, "Before. ", {"gate": gate}, "After.")
    await tab.shows("Before.")
    await tab.stop()

    await tab.resume()
    await tab.shows("Before.")
    await control.open_gate(gate)

    assert_finished(await tab.settled(), "Before. After.")


async def test_regenerating_replaces_the_answer(browser: Browser) -> None:
    chat = new_id()
    tab = await sent(browser, chat, "An answer.")
    first = await tab.settled()

    await tab.regenerate()
    second = await tab.settled()

    assert_finished(second, "An answer.")
    assert [message["role"] for message in second.messages] == ["user", "assistant"]
    assert second.answer["id"] != first.answer["id"]
    assert await told_by_server(browser, chat) == second.messages


async def test_a_conversation_keeps_its_earlier_turns(browser: Browser) -> None:
    chat = new_id()
    tab = await sent(browser, chat, "One.")
    await tab.settled()

    await tab.send("Two.")
    state = await tab.settled()

    assert [message["role"] for message in state.messages] == ["user", "assistant", "user", "assistant"]
    assert_finished(state, "Two.")
    assert await told_by_server(browser, chat) == state.messages


async def test_a_stop_ends_the_answer_in_every_tab(browser: Browser, control: Visitor) -> None:
    chat, gate = new_id(), new_id()
    first = await sent(browser, chat, "Not the whole ", {"gate": gate}, "answer.")
    await first.shows("Not the whole ")
    second = await browser.open(chat, messages=await told_by_server(browser, chat))
    await second.resume()
    await second.shows("Not the whole ")

    async with await browser.visitor() as visitor:
        assert (await visitor.stop(chat)).status_code == 202

    for tab in (first, second):
        state = await tab.settled()
        assert_finished(state, "Not the whole ")
        assert {part["state"] for part in state.answer["parts"] if part["type"] == "text"} == {"done"}
        assert await told_by_server(browser, chat) == state.messages


async def test_a_failing_model_shows_an_error_and_none_of_its_insides(browser: Browser) -> None:
    chat = new_id()
    tab = await sent(browser, chat, "Half an ", {"fail": "secret detail"})

    state = await tab.settled()

    assert (state.status, state.error, state.text) == ("error", "An error occurred.", "Half an ")
    assert await told_by_server(browser, chat) == state.messages


async def test_an_answer_that_fails_before_its_first_part_is_no_message(browser: Browser) -> None:
    chat = new_id()
    tab = await sent(browser, chat, {"fail": "secret detail"})

    state = await tab.settled()

    assert (state.status, state.error) == ("error", "An error occurred.")
    assert [message["role"] for message in state.messages] == ["user"]
    assert await told_by_server(browser, chat) == state.messages


async def test_what_follows_an_error_of_the_producer_is_kept(browser: Browser) -> None:
    chat = new_id()
    calls = ({"type": "tool-input-available", "toolCallId": f"c{n}", "toolName": "t", "input": {}} for n in (1, 2))
    steps = ({"type": "start-step"}, *calls, {"type": "finish-step"}, {"type": "finish"})
    tab = await sent(browser, chat, {"type": "error", "errorText": "The first event was cut."}, *steps)

    state = await tab.settled()

    assert (state.status, state.error) == ("error", "The first event was cut.")
    assert [part["type"] for part in state.answer["parts"]] == ["step-start", "tool-t", "tool-t"]
    assert await told_by_server(browser, chat) == state.messages


@pytest.mark.parametrize("form", ["Q2hhdDo{}==", "auth0|{}", "a+{}@example.org"])
async def test_a_chat_has_an_id_of_another_system(browser: Browser, control: Visitor, form: str) -> None:
    chat, gate = form.format(new_id()), new_id()
    first = await sent(browser, chat, "Not the ", {"gate": gate}, "whole.")
    await first.shows("Not the ")
    second = await browser.open(chat, messages=await told_by_server(browser, chat))
    await second.resume()
    await second.shows("Not the ")
    async with await browser.visitor() as visitor:
        assert (await visitor.stop(chat)).status_code == 202

    for tab in (first, second):
        assert_finished(await tab.settled(), "Not the ")


async def test_a_second_message_at_once_is_refused_and_disturbs_nothing(browser: Browser, control: Visitor) -> None:
    chat, gate = new_id(), new_id()
    first = await sent(browser, chat, "One at ", {"gate": gate}, "a time.")
    await first.shows("One at ")

    second = await (await sent(browser, chat, "Never said.")).settled()
    await control.open_gate(gate)

    assert (second.status, second.error) == ("error", BUSY)
    assert_finished(await first.settled(), "One at a time.")


async def test_a_chat_that_was_never_begun_has_nothing_to_resume(browser: Browser) -> None:
    tab = await browser.open(new_id())
    await tab.resume()

    state = await tab.settled()

    assert (state.status, state.error, state.messages) == ("ready", None, [])
