"""A project that subclasses the view or uses the function API passes ``mypy --strict`` with django-stubs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import resumable_stream

SETTINGS = """\
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "resumable_stream"]
ROOT_URLCONF = "support.urls"
"""
CONFIGURATION = """\
[mypy]
strict = True
plugins = mypy_django_plugin.main

[mypy.plugins.django-stubs]
django_settings_module = settings
"""
VIEWS = """\
from collections.abc import AsyncIterator
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from resumable_stream import End, EndReason, LimitExceededError, ResumableChat, ResumableChatView, Turn, owner_of


class SupportChat(ResumableChatView):
    name = "support"
    format = "aisdk"
    mode = "session"
    delivery = "response"

    async def generate(self, turn: Turn) -> AsyncIterator[str]:
        for message in await turn.history():
            yield str(message.get("id"))

    async def get_owner(self, request: HttpRequest) -> str:
        return f"acme-{await super().get_owner(request)}"

    async def get_stream_name(self, request: HttpRequest, chat_id: str) -> str:
        return f"support/{await super().get_stream_name(request, chat_id)}"

    def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool:
        if action == "start" and not request.user.is_authenticated:
            raise PermissionDenied
        return True

    async def limit(self, request: HttpRequest, action: str) -> None:
        if action == "start" and request.headers.get("X-Busy"):
            raise LimitExceededError("Slowly, please.", retry_after=5)

    async def limit_key(self, request: HttpRequest) -> str:
        return request.headers.get("X-Team") or f"{await super().limit_key(request)}"

    def on_error(self, turn: Turn, error: Exception) -> str:
        return f"The answer to {turn.chat_id} failed."

    async def on_end(self, turn: Turn, end: End) -> None:
        if end.reason is EndReason.FINISHED and end.message is not None:
            print(turn.chat_id, turn.actor, end.message)


class BlockingChat(ResumableChatView):
    format = "text"

    def generate(self, turn: Turn) -> Any:
        yield "Hello"

    def get_owner(self, request: HttpRequest) -> int:
        return 7

    def on_end(self, turn: Turn, end: End) -> None:
        print(end.text)


chat = ResumableChat(format="aisdk")


async def answer(question: str) -> AsyncIterator[str]:
    yield question


async def start(request: HttpRequest, chat_id: str) -> HttpResponseBase:
    owner = await owner_of(request)
    return await chat.make_resumable(
        f"help/{owner}/{chat_id}", lambda: answer("Hi"), owner=owner, idempotency_key="k", chat_id=chat_id
    )


async def follow(request: HttpRequest, chat_id: str) -> HttpResponseBase:
    owner = await owner_of(request)
    return await chat.replay(f"help/{owner}/{chat_id}", owner=owner)


async def stop(request: HttpRequest, chat_id: str) -> HttpResponseBase:
    return await chat.stop(f"help/{await owner_of(request)}/{chat_id}")
"""
URLS = """\
from django.urls import include, path

from support.views import BlockingChat, SupportChat, follow, start, stop

urlpatterns = [
    path("api/chat", include(SupportChat.urls())),
    path("api/blocking", include(BlockingChat.urls())),
    path("help/<chat_id>/start", start),
    path("help/<chat_id>", follow),
    path("help/<chat_id>/stop", stop),
]
"""
MISTAKEN = """\
from resumable_stream import ResumableChat


async def start(chat: ResumableChat) -> None:
    await chat.make_resumable("s", [], onwer="ada")
    await chat.make_resumable("s", [], idempotency_key=7)
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says about the project, a line for each error."""
    project = tmp_path_factory.mktemp("project")
    (project / "support").mkdir()
    files = {
        "settings.py": SETTINGS,
        "mypy.ini": CONFIGURATION,
        "support/__init__.py": "",
        "support/views.py": VIEWS,
        "support/urls.py": URLS,
        "support/mistaken.py": MISTAKEN,
    }
    for name, text in files.items():
        (project / name).write_text(text)
    package = str(Path(resumable_stream.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{package}", "MYPYPATH": package}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--no-error-summary", "support"]
    # Kept from one run to the next: the first one reads all of Django's types.
    command.append(f"--cache-dir={tmp_path_factory.getbasetemp().parent / 'mypy-cache'}")
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def test_users_views_hooks_and_urls_type_check(checked: list[str]) -> None:
    assert [line for line in checked if "mistaken.py" not in line] == []


def test_wrong_arguments_of_a_start_are_errors_of_the_type_checker(checked: list[str]) -> None:
    found = [line for line in checked if "mistaken.py" in line]

    assert len(found) == 2
    assert '"onwer"' in found[0]
    assert '"idempotency_key"' in found[1]
