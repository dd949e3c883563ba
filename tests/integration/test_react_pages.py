"""The manual's hooks, with the stock React packages of each client in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.manual import ROOT, code_blocks

from .node_host import NodeHost
from .proxy import cutting_proxy
from .react_pages import ReactPage, bundle
from .servers import Server
from .visitor import Visitor, new_id


def shown(page: str) -> list[str]:
    """Return the scripts of a page of the manual, each with its hook."""
    scripts, hooks = (code_blocks(f"docs/clients/{page}.md", language) for language in ("javascript", "jsx"))
    return [f"{script}\n{hook}" for script, hook in zip(scripts, hooks, strict=True)]


RESUMABLE_CODE, AI_SDK_CODE = shown("ai-sdk")
LIVE_CODE, NATIVE_CODE = shown("tanstack")

AI_SDK = """
{shown}
const loadFirst = () => load(chatId);
function useShown(chatId, loaded) {{
  const {{ messages, sendMessage, status, error }} = useAnswers(chatId, loaded);
  const isBusy = status !== "ready";
  return {{ messages, isBusy, error, send: (text) => sendMessage({{ text }}), stop: () => stopAnswer(chatId) }};
}}
"""
LIVE = """
{shown}
const loadFirst = () => undefined;
function useShown(chatId) {{
  const {{ messages, sendMessage, stopAnswer, isLoading, sessionGenerating }} = useAnswers(chatId);
  return {{ messages, isBusy: isLoading || sessionGenerating, send: sendMessage, stop: stopAnswer }};
}}
"""
NATIVE = """
{shown}
const loadFirst = () => undefined;
function useShown(chatId) {{
  const {{ messages, sendMessage, isLoading }} = useAnswers(chatId);
  return {{ messages, isBusy: isLoading, send: sendMessage, stop: () => stopAnswer(chatId) }};
}}
"""
README = """
{imports}
const csrfToken = /csrftoken=([^;]+)/.exec(document.cookie)[1];
const headers = {{ "X-CSRFToken": csrfToken }};
const loadFirst = () => fetch(`/api/chat/${{chatId}}/messages`).then((response) => response.json());
function useShown(chatId, {{ messages: initialMessages }}) {{
  {use}
  const {{ messages, sendMessage, status }} = chat;
  return {{ messages, isBusy: status !== "ready", send: (text) => sendMessage({{ text }}), stop: () => {stop} }};
}}
"""


def ai_sdk(code: str, version: int) -> str:
    return code.replace('from "ai"', f'from "ai{version}"').replace('"@ai-sdk/react"', f'"ai-react{version}"')


def by_socket(code: str) -> str:
    """Let the AI SDK's page use the transport of the manual of websockets."""
    (transport,) = code_blocks("docs/channels.md", "js")
    usual = "new DefaultChatTransport({ api, headers })"
    assert usual in code
    return code.replace(usual, transport.strip()).replace("DefaultChatTransport", "WebSocketChatTransport")


def readme() -> str:
    """Make a page of README's transport, which sends the newest message alone as README shows further down."""
    (block,) = code_blocks("README.md", "js")
    (newest_message,) = code_blocks("docs/chat-views.md", "js")
    imports, use = block.split("\n\n", 1)
    assert '  api: "/api/chat",\n' in use
    use = use.replace('  api: "/api/chat",\n', f'  api: "/api/chat",\n  {newest_message.strip()},\n')
    (stop,) = re.findall(r"``(fetch\(.*\))``", (ROOT / "README.md").read_text())
    return README.format(imports=imports, use=use, stop=stop)


CLIENTS = {
    **{f"aisdk{version}": ai_sdk(AI_SDK.format(shown=AI_SDK_CODE), version) for version in (5, 6, 7)},
    **{f"resumable{version}": ai_sdk(AI_SDK.format(shown=RESUMABLE_CODE), version) for version in (5, 6, 7)},
    "aisdk7-socket": by_socket(ai_sdk(AI_SDK.format(shown=AI_SDK_CODE), 7)),
    "readme": ai_sdk(readme(), 7),
    "tanstack-live": LIVE.format(shown=LIVE_CODE).replace("/api/chat", "/api/tanstack"),
    "tanstack-native": NATIVE.format(shown=NATIVE_CODE).replace("/api/chat", "/api/native"),
}
# A page on a server takes some seconds: older versions are tried on one of the two.
SITES = {
    "daphne-s2": ("aisdk5", "aisdk7", "tanstack-live", "tanstack-native"),
    "uvicorn-sqlite": ("aisdk6", "resumable6", "aisdk7-socket", "readme", "tanstack-live", "tanstack-native"),
}
PAGES = [(server, name) for server, names in SITES.items() for name in names]
IN_EVERY_PAGE = pytest.mark.parametrize(("server", "name"), PAGES, indirect=True)
IN_A_LIVE_PAGE = pytest.mark.parametrize(
    ("server", "name"), [(server, "tanstack-live") for server in SITES], indirect=True
)


@pytest.fixture
def name(request: pytest.FixtureRequest, node_project: Path) -> str:
    """Name a page, and see to it that its script is there."""
    name: str = request.param
    if not (node_project / f"{name}.js").exists():
        bundle(node_project, name, CLIENTS[name])
    return name


@pytest.fixture
async def control(server: Server) -> AsyncIterator[Visitor]:
    """A client that only opens gates."""
    async with Visitor(server.base) as visitor:
        yield visitor


@IN_EVERY_PAGE
async def test_a_page_that_is_loaded_again_in_mid_answer_goes_on_and_stays_as_it_is(
    browser: NodeHost, server: Server, control: Visitor, name: str
) -> None:
    chat = new_id()
    steps = ("Half ", {"gate": chat}, "and whole.")
    question = ("user", json.dumps(steps))
    page = await ReactPage(browser, new_id()).open(f"{server.base}/pages/react/{name}?chat={chat}")

    await page.say(*steps)
    await page.shows(question, ("assistant", "Half "), is_busy=True)
    await page.call("reload")
    await page.shows(question, ("assistant", "Half "), is_busy=True)
    await control.open_gate(chat)
    await page.shows(question, ("assistant", "Half and whole."))
    await page.say("Next.")
    conversation = (question, ("assistant", "Half and whole."), ("user", '["Next."]'), ("assistant", "Next."))
    await page.shows(*conversation)

    await page.call("reload")
    await page.shows(*conversation)
    await page.assert_no_problems()


@IN_EVERY_PAGE
async def test_a_stop_in_one_page_ends_the_answer_in_every_page(
    browser: NodeHost, server: Server, control: Visitor, name: str
) -> None:
    chat = new_id()
    steps = ("Not the whole ", {"gate": chat}, "answer.")
    shown = (("user", json.dumps(steps)), ("assistant", "Not the whole "))
    first = await ReactPage(browser, new_id()).open(f"{server.base}/pages/react/{name}?chat={chat}")
    await first.say(*steps)
    await first.shows(*shown, is_busy=True)
    second = await first.second_tab()
    await second.shows(*shown, is_busy=True)

    await second.click('button:has-text("Stop")')

    for page in (first, second):
        await page.shows(*shown)
    await first.call("reload")
    await first.shows(*shown)
    await first.say("Next.")
    await first.shows(*shown, ("user", '["Next."]'), ("assistant", "Next."))
    for page in (first, second):
        await page.assert_no_problems()


AWAY = [*((name, 0) for name in ("aisdk5", "aisdk6", "aisdk7")), ("readme", 300)]
COME_BACK = 'export default () => document.dispatchEvent(new Event("visibilitychange"));'


@pytest.mark.parametrize(("name", "seconds"), AWAY, indirect=["name"])
async def test_a_page_that_was_away_when_the_answer_ended_shows_it_whole(
    browser: NodeHost, make_server: Callable[..., Server], name: str, seconds: int
) -> None:
    """With the manual's hook however long it was away, and without it for the time that the setting says."""
    server = make_server("uvicorn", RESUME_AFTER_END_SECONDS=seconds)
    chat, session = new_id(), new_id()
    steps = ("Half ", {"gate": chat}, "and whole.")
    question, whole = ("user", json.dumps(steps)), ("assistant", "Half and whole.")
    async with cutting_proxy(server.port) as proxy, Visitor(server.base) as control:
        page = await ReactPage(browser, session).open(f"{proxy.base}/pages/react/{name}?chat={chat}")
        await page.say(*steps)
        await page.shows(question, ("assistant", "Half "), is_busy=True)
        proxy.go_down()
        await control.open_gate(chat)
        other = await ReactPage(browser, session).open(f"{server.base}/pages/react/{name}?chat={chat}")
        await other.shows(question, whole)
        await page.shows(question, ("assistant", "Half "), is_busy=True)

        proxy.is_down = False
        await page.call("run", script=COME_BACK, given=[])

        await page.shows(question, whole)
        await page.say("Next.")
        await page.shows(question, whole, ("user", '["Next."]'), ("assistant", "Next."))


@pytest.mark.parametrize("name", [name for name in CLIENTS if name.startswith("aisdk")], indirect=True)
async def test_a_page_whose_connection_broke_comes_again_by_itself(
    browser: NodeHost, make_server: Callable[..., Server], name: str
) -> None:
    """As after a deploy or with a new session; with the manual's hook, and the page in view all the time."""
    server = make_server("uvicorn")
    chat = new_id()
    steps = ("Half ", {"gate": chat}, "and whole.")
    question, whole = ("user", json.dumps(steps)), ("assistant", "Half and whole.")
    async with cutting_proxy(server.port) as proxy, Visitor(server.base) as control:
        page = await ReactPage(browser, new_id()).open(f"{proxy.base}/pages/react/{name}?chat={chat}")
        await page.say("Hello.")
        hello = (("user", '["Hello."]'), ("assistant", "Hello."))
        await page.shows(*hello)
        await page.say(*steps)
        await page.shows(*hello, question, ("assistant", "Half "), is_busy=True)
        proxy.go_down()
        proxy.is_down = False
        await control.open_gate(chat)

        await page.shows(*hello, question, whole)


NO_ERROR = """
const shown = [];
const look = () => shown.push(...[...document.querySelectorAll('[role="alert"]')].map((one) => one.textContent));
new MutationObserver(look).observe(document, { childList: true, subtree: true });
window.errorsShown = () => shown;
"""
ERRORS_SHOWN = "export default () => window.errorsShown();"


@pytest.mark.parametrize("name", ["resumable5", "resumable7"], indirect=True)
async def test_a_page_with_our_transport_goes_on_over_breaks_offline_and_asleep_without_an_error(
    browser: NodeHost, make_server: Callable[..., Server], name: str
) -> None:
    server = make_server("uvicorn")
    chat, gates = new_id(), [new_id() for _ in range(3)]
    steps = ("One, ", {"gate": gates[0]}, "two, ", {"gate": gates[1]}, "three, ", {"gate": gates[2]}, "four.")
    question = ("user", json.dumps(steps))
    async with cutting_proxy(server.port) as proxy, Visitor(server.base) as control:
        page = await ReactPage(browser, new_id()).open(f"{proxy.base}/pages/react/{name}?chat={chat}", before=NO_ERROR)
        await page.say(*steps)
        await page.shows(question, ("assistant", "One, "), is_busy=True)
        proxy.go_down()
        proxy.is_down = False
        await control.open_gate(gates[0])
        await page.shows(question, ("assistant", "One, two, "), is_busy=True)
        await page.call("goOffline", isOffline=True)
        proxy.go_down()
        await control.open_gate(gates[1])
        await page.shows(question, ("assistant", "One, two, "), is_busy=True)
        proxy.is_down = False
        await page.call("goOffline", isOffline=False)
        await page.shows(question, ("assistant", "One, two, three, "), is_busy=True)
        await page.call("putToSleep", isAsleep=True)
        proxy.go_down()
        await control.open_gate(gates[2])
        proxy.is_down = False
        await page.call("putToSleep", isAsleep=False)
        whole = (question, ("assistant", "One, two, three, four."))
        await page.shows(*whole)

        assert await page.call("run", script=ERRORS_SHOWN, given=[]) == []
        await page.call("reload")
        await page.shows(*whole)


@IN_A_LIVE_PAGE
async def test_a_page_with_a_subscription_shows_what_another_one_asks(
    browser: NodeHost, server: Server, control: Visitor, name: str
) -> None:
    chat = new_id()
    steps = ("For ", {"gate": chat}, "all.")
    question = ("user", json.dumps(steps))
    first = await ReactPage(browser, new_id()).open(f"{server.base}/pages/react/{name}?chat={chat}")
    await first.say("Hello.")
    hello = (("user", '["Hello."]'), ("assistant", "Hello."))
    await first.shows(*hello)
    second = await first.second_tab()
    await second.shows(*hello)

    await first.say(*steps)
    await second.shows(*hello, question, ("assistant", "For "), is_busy=True)
    await control.open_gate(chat)

    for page in (first, second):
        await page.shows(*hello, question, ("assistant", "For all."))
        await page.assert_no_problems()
