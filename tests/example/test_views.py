"""The example project's views and settings."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from django.test import AsyncClient

import example_project
from example_project import settings as example
from example_project.demo_model import DemoModel
from example_project.openai_model import ModelServerError, OpenAIModel
from example_project.views import DemoChat, chosen_model
from resumable_stream.chat.on_error import DEFAULT_ERROR_TEXT
from resumable_stream.chat.turn import Turn
from resumable_stream.runtime import runtime

from ..support.logs import use_faulty_log
from ..support.virtual_time import in_virtual_time

PROJECT = Path(example_project.__file__).parent
README = "# Kettle\n\n## Cleaning\n\nUse vinegar.\n"


@pytest.fixture(autouse=True)
def example_settings(settings: Any, tmp_path: Path) -> None:
    """The example's settings, but for the log, which stays that of the tests."""
    readme = tmp_path / "README.md"
    readme.write_text(README)
    for name in ("INSTALLED_APPS", "MIDDLEWARE", "ROOT_URLCONF", "TEMPLATES", "SESSION_ENGINE", "OPENAI_MODEL"):
        setattr(settings, name, getattr(example, name))
    settings.INSTALLED_APPS = [name for name in example.INSTALLED_APPS if name != "daphne"]
    # A machine that stands still for a while must not add a heartbeat to what the log shows.
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "LEASE_SECONDS": 3600}
    settings.DEMO_PAGES = [readme]
    settings.DEMO_WORD_SECONDS = 0
    settings.OPENAI_BASE_URL = settings.OPENAI_API_KEY = ""


def question(chat_id: str, text: str) -> dict[str, Any]:
    message = {"id": str(uuid.uuid4()), "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": chat_id, "messages": [message], "trigger": "submit-message"}


async def ask(client: AsyncClient, text: str, chat_id: str = "") -> str:
    """Ask in a chat, wait for the whole answer, and return the chat's id."""
    chat_id = chat_id or str(uuid.uuid4())
    response = await client.post("/api/chat", question(chat_id, text), content_type="application/json")
    assert response.status_code == 200
    assert '"type":"finish"' in b"".join([part async for part in response]).decode()
    return chat_id


async def log_events(client: AsyncClient, chat_id: str, **headers: str) -> list[dict[str, Any]]:
    """Read the log panel's stream up to the terminal fence."""
    events: list[dict[str, Any]] = []
    response = await client.get(f"/log/{chat_id}", headers=headers)
    assert response["Content-Type"] == "text/event-stream"
    async with aclosing(response.streaming_content) as parts:
        async for part in parts:
            for number, data in re.findall(r"id: (\d+)\ndata: (.*)\n\n", part.decode()):
                events.append({"id": int(number), **json.loads(data)})
            if events and events[-1]["kind"] == "fence":
                response.close()
                return events
    raise AssertionError("the log ended before the answer did")


def test_the_project_checks_clean_and_has_nothing_to_migrate() -> None:
    command = [sys.executable, "manage.py", "check", "--fail-level", "WARNING"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "example_project.settings"}

    done = subprocess.run(command, cwd=PROJECT.parent, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert example.INSTALLED_APPS[0] == "daphne"
    assert example.DATABASES == {}


def test_the_page_loads_nothing_from_elsewhere() -> None:
    ours = [*PROJECT.glob("templates/**/*.html"), *PROJECT.glob("static/example_project/*.*")]
    assert len(ours) > 10

    for path in ours:
        # Loaded things stand in attributes, imports and url(); addresses in comments and XML namespaces are none.
        loaded = re.findall(
            r"""(?:src|href|from|import|url)\s*[=(]?\s*["']?(?:https?:)?//[^\s"')]+""", path.read_text()
        )
        assert loaded == [], path.name


async def test_the_page_has_a_token_and_forbids_everything_foreign() -> None:
    response = await AsyncClient().get("/")
    page = response.content.decode()

    assert response.status_code == 200
    assert re.search(r'id="csrf-token" content="\w{64}"', page)
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "demo model" in page
    assert (await AsyncClient().get("/c/some-chat")).status_code == 200


async def test_the_page_names_the_model_behind_it(settings: Any) -> None:
    settings.OPENAI_BASE_URL, settings.OPENAI_MODEL = "http://127.0.0.1:1/v1", "llama-<3>"

    page = (await AsyncClient().get("/")).content.decode()

    assert "Answers come from <strong>llama-&lt;3&gt;</strong>" in page


async def test_a_question_without_a_token_is_refused() -> None:
    client = AsyncClient(enforce_csrf_checks=True)

    response = await client.post("/api/chat", question("a", "cleaning"), content_type="application/json")

    assert response.status_code == 403


async def test_an_answer_is_kept_with_its_rich_parts() -> None:
    client = AsyncClient()
    chat_id = await ask(client, "How is it cleaned?")

    messages = (await client.get(f"/api/chat/{chat_id}/messages")).json()["messages"]

    assert [part["type"] for part in messages[1]["parts"]] == [
        "reasoning",
        "tool-search_manual",
        "source-document",
        "text",
    ]
    assert messages[1]["parts"][-1]["text"] == "### Cleaning\n\nUse vinegar."


async def test_visitors_see_their_own_chats_titled_by_their_first_question() -> None:
    client = AsyncClient()
    first = await ask(client, "How  is it\ncleaned?")
    await ask(client, "And again?", first)
    second = await ask(client, "Hello")

    chats = (await client.get("/chats")).json()["chats"]

    assert {chat["id"]: chat["title"] for chat in chats} == {first: "How is it cleaned?", second: "Hello"}
    assert [chat["created"] for chat in chats] == sorted((chat["created"] for chat in chats), reverse=True)
    assert (await AsyncClient().get("/chats")).json() == {"chats": []}


async def test_the_log_shows_every_record_from_the_claim_to_the_fence() -> None:
    client = AsyncClient()
    chat_id = await ask(client, "cleaning")

    events = await log_events(client, chat_id)

    assert [event["seq_num"] for event in events] == list(range(len(events)))
    assert [event["id"] for event in events] == [event["seq_num"] + 1 for event in events]
    kinds = [event["kind"] for event in events if event["kind"] != "chunk"]
    assert kinds == ["claim", "begin", "user", "end", "fence"]
    assert all(event["bytes"] > 0 and event["time"] > 0 for event in events)


async def test_the_log_goes_on_at_its_cursor() -> None:
    client = AsyncClient()
    chat_id = await ask(client, "cleaning")

    events = await log_events(client, chat_id, last_event_id="5")

    assert events[0]["seq_num"] == 5


@pytest.mark.parametrize("cursor", ["999999", "-1", "x", "", "9" * 5000])
async def test_a_cursor_of_another_log_shows_what_there_is(cursor: str) -> None:
    client = AsyncClient()
    chat_id = await ask(client, "cleaning")

    events = await log_events(client, chat_id, last_event_id=cursor)

    assert events[0]["seq_num"] == 0


async def test_readers_of_the_log_are_counted(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_READERS_PER_OWNER": 1}
    client = AsyncClient()
    chat_id = await ask(client, "cleaning")

    one = await client.get(f"/log/{chat_id}")
    other = await client.get(f"/log/{chat_id}")
    assert (one.status_code, other.status_code, "Retry-After" in other.headers) == (200, 429, True)
    one.close()
    assert await log_events(client, chat_id)
    # A chat that is not there takes no place.
    assert [(await client.get("/log/none")).status_code for _ in range(3)] == [204, 204, 204]
    assert not runtime().readers


@in_virtual_time
async def test_reader_of_the_log_is_authorized_again(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use_faulty_log(settings, REAUTHORIZE_SECONDS=30)
    client = AsyncClient()
    chat_id = await ask(client, "cleaning")

    began = asyncio.get_running_loop().time()
    response = await client.get(f"/log/{chat_id}")
    assert b"".join([part async for part in response]).count(b"id: ") > 5
    assert asyncio.get_running_loop().time() - began == pytest.approx(30)
    monkeypatch.setattr(DemoChat, "authorize", lambda *_: False)
    assert (await client.get(f"/log/{chat_id}")).status_code == 404


async def test_nobody_sees_the_log_of_somebody_elses_chat() -> None:
    chat_id = await ask(AsyncClient(), "cleaning")

    assert (await AsyncClient().get(f"/log/{chat_id}")).status_code == 204


@pytest.mark.parametrize(
    ("base_url", "key", "expected"),
    [("", "", DemoModel), ("http://127.0.0.1:1/v1", "", OpenAIModel), ("", "key", OpenAIModel)],
    ids=["neither", "server", "key"],
)
def test_a_server_or_a_key_chooses_the_real_model(settings: Any, base_url: str, key: str, expected: type) -> None:
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = base_url, key

    assert isinstance(chosen_model(), expected)


def test_people_are_told_of_the_model_servers_troubles_and_of_no_others() -> None:
    turn = Turn(chat_id="c", generation_id="g", message_id="m")

    assert DemoChat().on_error(turn, ModelServerError("It is away.")) == "It is away."
    assert DemoChat().on_error(turn, KeyError("secret")) == DEFAULT_ERROR_TEXT


async def test_a_failure_of_the_model_server_ends_the_answer_with_its_reason(settings: Any) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:1/v1"
    client = AsyncClient()

    response = await client.post("/api/chat", question("a", "Hi"), content_type="application/json")
    body = b"".join([part async for part in response]).decode()

    assert '"errorText":"The model server cannot be reached' in body
    generations = (await client.get("/api/chat/a/messages")).json()["generations"]
    assert [generation["end"] for generation in generations] == ["failed"]
