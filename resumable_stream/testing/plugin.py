"""The plugin for pytest, with pytest-django: name it in the ``conftest.py`` at the top of a project.

::

    pytest_plugins = ["resumable_stream.testing.plugin"]

The fixtures ``client``, ``async_client`` and ``chat_kit`` give a test an empty log; docs/testing.md shows them.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from django.test import AsyncClient

    from .app import ChatClient, ChatKit, Log

# What needs Django is imported in the fixtures: a plugin may be loaded before the settings are known.


@pytest.fixture
def chat_log() -> Log:
    """Where the log of a test is, ``"memory"`` or ``"sqlite"``; a project or a module may give another fixture."""
    return "memory"


@pytest.fixture
def chat_kit(request: pytest.FixtureRequest, chat_log: Log) -> Iterator[ChatKit]:
    """Give the test an empty log, and wait for its answers; a test that leaves one running fails."""
    from .app import ChatKit  # noqa: PLC0415
    from .connections import shared_connections  # noqa: PLC0415

    if request.node.get_closest_marker("django_db") or "db" in request.fixturenames:
        # Before it, so that answers end in the transaction that begins there.
        request.getfixturevalue("db")
    is_async = inspect.iscoroutinefunction(request.function)
    with shared_connections() if is_async else nullcontext(), ChatKit(request.node.nodeid, log=chat_log) as kit:
        yield kit


@pytest.fixture(autouse=True)
def _chat_kit_first(request: pytest.FixtureRequest) -> None:
    """Let the other fixtures of the test find its log, and its database connections."""
    if "chat_kit" in request.fixturenames:
        request.getfixturevalue("chat_kit")


@pytest.fixture
def client(chat_kit: ChatKit) -> ChatClient:  # noqa: ARG001
    """Django's test client, for views that need ASGI too."""
    from .app import ChatClient  # noqa: PLC0415

    return ChatClient()


@pytest.fixture
def async_client(chat_kit: ChatKit) -> AsyncClient:  # noqa: ARG001
    """Django's asynchronous test client."""
    from django.test import AsyncClient  # noqa: PLC0415

    return AsyncClient()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: Any) -> Generator[None, object, object]:
    """Check at the end of a test that it leaves no answer running."""
    kit: ChatKit | None = getattr(item, "funcargs", {}).get("chat_kit")
    if kit is None:
        return (yield)
    if not inspect.iscoroutinefunction(item.obj):
        result = yield
        kit.end()
        return result
    item.obj = kit.ending(item.obj)
    return (yield)
