"""The manual is true: its code runs, its tables are complete."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import AsyncRequestFactory, override_settings
from django.urls import include, path

from resumable_stream import checks, exceptions
from resumable_stream.backends.s2.backend import CHECK_UNENCRYPTED
from resumable_stream.backends.sqlite.backend import CHECK_UNWRITABLE
from resumable_stream.conf import Settings, known_settings
from resumable_stream.testing.app import ChatClient, ChatKit

from .support.manual import ROOT, UrlConf, code_blocks

PYTHON_BLOCKS = [
    block
    for page in ("README.md", "docs/chat-views.md", "docs/settings.md", "docs/http.md")
    for block in code_blocks(page, "python")
]


def block_with(text: str) -> str:
    (found,) = (block for block in PYTHON_BLOCKS if text in block)
    return found


def table_under(page: str, heading: str) -> dict[str, list[str]]:
    section = (ROOT / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in section.splitlines() if row.startswith("|")]
    return {row[0].strip("`"): row[1:] for row in rows[2:]}


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.splitlines()[0])
def test_every_python_block_is_valid_python(block: str) -> None:
    ast.parse(block)


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    table = table_under("docs/settings.md", "Table of settings")
    assert set(table) == set(known_settings())
    for name, (default, _) in table.items():
        if name != "BACKENDS":
            assert ast.literal_eval(default.strip("`")) == known_settings()[name].value({}), name


def test_the_checks_table_names_every_check() -> None:
    ids = {CHECK_UNENCRYPTED, CHECK_UNWRITABLE} | {
        value for name, value in vars(checks).items() if re.match(r"[EWI]\d{3}_", name)
    }
    assert set(table_under("docs/checks.md", "Table of checks")) == ids


def test_the_errors_table_has_the_status_codes_of_the_classes() -> None:
    for name, (status, _) in table_under("docs/http.md", "Error classes").items():
        assert getattr(exceptions, name).status_code == int(status), name


def test_every_setting_has_a_place_in_the_class() -> None:
    assert {name.lower() for name in known_settings()} <= set(vars(Settings))


def openai_client() -> Any:
    """Make a real client, whose provider streams as Azure does: its first chunk and its last one have no choices."""
    openai = importlib.import_module("openai")
    words = ({"choices": [{"index": 0, "delta": {"content": word}}]} for word in ("Hello ", "reader"))
    chunks = [{"object": "", "choices": []}, *words, {"choices": [], "usage": {"total_tokens": 3}}]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    http = importlib.import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])

    def answer(_: object) -> Any:
        return http.Response(200, headers={"content-type": "text/event-stream"}, text=body)

    return openai.AsyncOpenAI(api_key="x", http_client=http.AsyncClient(transport=http.MockTransport(answer)))


def run_test_answers() -> None:
    names: dict[str, Any] = {}
    exec(block_with("def test_answers"), names)
    with ChatKit("README") as kit:
        names["test_answers"](ChatClient(), kit)


def test_the_ten_lines_at_the_top_make_a_chat_that_the_test_below_passes() -> None:
    names: dict[str, object] = {
        "client": openai_client(),
        "to_openai": lambda messages: messages,
    }
    exec(block_with("class SupportChat"), names)
    routes = {"include": include, "path": path, **names}
    exec(block_with("SupportChat.urls()"), routes)
    with override_settings(ROOT_URLCONF=UrlConf(*routes["urlpatterns"])):
        run_test_answers()


def test_a_chat_that_saves_its_answers_is_told_of_each() -> None:
    saved: list[dict[str, Any]] = []

    async def save(**given: Any) -> None:
        saved.append(given["defaults"])

    names: dict[str, Any] = {
        "client": openai_client(),
        "to_openai": lambda messages: messages,
        "Answer": SimpleNamespace(objects=SimpleNamespace(aupdate_or_create=save)),
    }
    exec(block_with("class SupportChat"), names)
    exec(block_with("class SavedChat"), names)
    with override_settings(ROOT_URLCONF=UrlConf(path("api/chat", include(names["SavedChat"].urls())))):
        run_test_answers()

    (values,) = saved
    assert (values["chat_id"], values["reason"]) == ("c1", "finished")
    assert values["message"]["parts"][-1]["text"] == "Hello reader"


SETTINGS = [block for block in PYTHON_BLOCKS + code_blocks("docs/s2.md", "python") if "RESUMABLE_STREAM" in block]


@pytest.mark.parametrize("block", SETTINGS, ids=lambda block: (re.findall(r"(\w+Backend)\"", block) or ["settings"])[0])
def test_the_settings_that_it_shows_find_nothing_to_complain_of(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_S2_TOKEN", "t")
    names: dict[str, Any] = {"os": os}
    exec(block, names)
    project = {"DEBUG": True, "ASGI_APPLICATION": "project.asgi.application"}
    with override_settings(RESUMABLE_STREAM=names["RESUMABLE_STREAM"], **project):
        found = run_checks()
    assert [message for message in found if str(message.id).startswith("resumable_stream.")] == []


async def test_the_functions_without_the_view_start_follow_and_read_back() -> None:
    async def words() -> object:
        yield "Hello"

    names: dict[str, object] = {"answer": lambda request: words()}
    exec(block_with("ResumableChat(format="), names)
    request = AsyncRequestFactory().post("/")
    request.user = User(pk=7)
    response = await names["start"](request, "readme")
    text = b"".join([block async for block in response.streaming_content]).decode()
    deltas = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [chunk["delta"] for chunk in deltas if chunk["type"] == "text-delta"] == ["Hello"]
    again = await names["follow"](request, "readme")
    assert b"".join([block async for block in again.streaming_content]).decode().count("Hello") == 1
    assert (await names["stop"](request, "readme")).status_code == 204
    (message,) = json.loads((await names["messages"](request, "readme")).content)["messages"]
    assert message["parts"][0]["text"] == "Hello"


async def test_the_tenant_in_the_owner_keeps_users_with_equal_keys_apart() -> None:
    names: dict[str, Any] = {}
    exec(block_with("class TenantChat"), names)
    chat = names["TenantChat"]()
    requests = []
    for tenant in ("acme", "globex"):
        request = AsyncRequestFactory().post("/chat")
        request.user = User(pk=7)
        request.tenant = SimpleNamespace(schema_name=tenant)
        requests.append(request)

    streams = [await chat.stream_of(request, "c1") for request in requests]
    assert [name.rpartition("/")[0].rpartition("/")[2] for name in streams] == ["acme-user-7", "globex-user-7"]
    assert [await chat.limit_key_of(request) for request in requests] == ["acme-user-7", "globex-user-7"]
