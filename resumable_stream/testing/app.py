"""What the tests of a project with chats need: an empty log for each, a client, and a wait for answers.

``ChatTestMixin`` is for Django's ``TestCase`` and ``TransactionTestCase``; the same for pytest is in
:mod:`resumable_stream.testing.plugin`. docs/testing.md shows both.
"""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from django.conf import settings as project_settings
from django.test import Client, override_settings
from django.test.client import AsyncClientHandler, ClientHandler

from ..backends import backends
from ..conf import SETTING_NAME, settings
from ..runtime import abandon, runtime
from ..utils.threads import shared_thread
from .connections import open_transactions
from .loop import BackgroundLoop

__all__ = ["ChatClient", "ChatKit", "ChatTestMixin"]

T = TypeVar("T")
Log = Literal["memory", "sqlite"]

WAIT_SECONDS = 10.0
"""How long answers may take to end, unless the test says otherwise."""


class ChatKit:
    """The chats of one test: their log, which is empty when the test begins, and the answers that are being written.

    Used as a context manager, in the thread of the test. Synchronous code of ``generate`` and of the hooks runs in that
    thread too, and so in the transaction of the test, while the test waits for a response or for :meth:`finish`.
    """

    current: ChatKit | None = None
    """That of the test which is running."""
    grace_seconds = 1.0
    """How long answers may go on when the test has ended: whether one is seen that is about to end would be chance."""

    def __init__(self, test: str, *, log: Log = "memory") -> None:
        if log not in ("memory", "sqlite"):
            raise ValueError(f"The log of a test is 'memory' or 'sqlite', not {log!r}.")
        self.test = test
        self._log = log
        self._loop = BackgroundLoop()
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(override_settings(**{SETTING_NAME: self._settings(stack)}))
            stack.enter_context(shared_thread())
            stack.enter_context(open_transactions())
            stack.callback(setattr, ChatKit, "current", ChatKit.current)
            stack.callback(self._loop.close)
            self._exit = stack.pop_all()
        ChatKit.current = self
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what still runs, and forget the log."""
        try:
            if self._loop.has_begun:
                self._loop.run(self.aclose())
        finally:
            self._exit.close()

    def _settings(self, stack: ExitStack) -> dict[str, Any]:
        logs: dict[str, Any]
        if self._log == "memory":
            logs = {alias: {"BACKEND": "resumable_stream.backends.memory.MemoryBackend"} for alias in settings.backends}
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resumable-stream-test-")))
            logs = {
                alias: {
                    "BACKEND": "resumable_stream.backends.sqlite.SQLiteBackend",
                    "OPTIONS": {"path": str(folder / f"{number}.sqlite3")},
                }
                for number, alias in enumerate(settings.backends)
            }
        given = getattr(project_settings, SETTING_NAME, {})
        # The test runner owns the signals of its process.
        return {**given, "BACKENDS": logs, "HANDLE_SIGNALS": False}

    def settings(self, **values: Any) -> override_settings:
        """Return a context manager in which ``RESUMABLE_STREAM`` has these values too; its log is another empty one."""
        return override_settings(**{SETTING_NAME: {**getattr(project_settings, SETTING_NAME), **values}})

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop of the synchronous test, and return its result."""
        return self._loop.run(coroutine)

    def finish(self, *, within: float = WAIT_SECONDS) -> None:
        """Wait until every answer has ended and its ``on_end`` has returned.

        Raises:
            AssertionError: One has not ended ``within`` so many seconds; the message names its stream.
        """
        self.run(self.afinish(within=within))

    async def afinish(self, *, within: float = WAIT_SECONDS) -> None:
        """Do what :meth:`finish` does, in an asynchronous test."""
        if not await runtime().registry.settle(within):
            raise AssertionError(self._left_running("did not end in time"))

    def end(self) -> None:
        """Check at the end of a synchronous test that it leaves no answer running; raises as :meth:`aend`."""
        if self._loop.has_begun:
            self.run(self.aend())

    async def aend(self) -> None:
        """Check at the end of a test that it leaves no answer running, then stop what runs.

        What is about to end is waited for, and the ``on_end`` of what has ended.

        Raises:
            AssertionError: An answer is still being written; the message names the test and the stream of the chat.
        """
        registry = runtime().registry
        await registry.settle(self.grace_seconds)
        complaint = self._left_running("was left running") if registry else ""
        if not complaint and not await registry.settle(WAIT_SECONDS):
            complaint = self._left_running("has an on_end or a source that does not return")
        await self.aclose()
        if complaint:
            raise AssertionError(complaint)

    def _left_running(self, how: str) -> str:
        streams = ", ".join(repr(generation.stream) for generation in runtime().registry) or "its stream is free again"
        return (
            f"{self.test}: an answer {how} ({streams}). Stop it, or wait for it with finish() "
            "(in an asynchronous test: await afinish())."
        )

    async def aclose(self) -> None:
        """Stop what runs in this event loop, and let go of the log."""
        await abandon()
        await backends.close_all()

    def ending(self, test: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Coroutine[Any, Any, T]]:
        """Wrap an asynchronous test, which is the only one that can wait for the answers of its event loop."""

        @functools.wraps(test)
        async def wrapped(*args: Any, **kwargs: Any) -> T:
            try:
                result = await test(*args, **kwargs)
                await self.aend()
            finally:
                await self.aclose()
            return result

        return wrapped


class ChatClient(Client):
    """Django's synchronous test client, for views that need ASGI; works in tests with a :class:`ChatKit`.

    The requests are ASGI requests, in one event loop for the whole test. ``streaming_content`` can be iterated as the
    answer is written, and an answer runs on when nobody reads it.
    """

    def __init__(self, enforce_csrf_checks: bool = False, *args: Any, **kwargs: Any) -> None:
        super().__init__(enforce_csrf_checks, *args, **kwargs)
        self.handler = _Handler(enforce_csrf_checks)


class _Handler(ClientHandler):
    def __init__(self, enforce_csrf_checks: bool) -> None:
        super().__init__(enforce_csrf_checks)
        self._asgi = AsyncClientHandler(enforce_csrf_checks)

    def __call__(self, environ: dict[str, Any]) -> Any:
        kit = ChatKit.current
        if kit is None:
            raise RuntimeError(
                "ChatClient needs the chats of a test: add ChatTestMixin to the test case, or the fixture chat_kit."
            )
        response: Any = kit.run(self._asgi(_scope_of(environ)))
        response.wsgi_request = response.asgi_request
        if response.streaming and response.is_async:
            response.streaming_content = _blocks(kit, aiter(response.streaming_content))
        return response


def _scope_of(environ: dict[str, Any]) -> dict[str, Any]:
    """Return the ASGI scope of a request that Django's synchronous client has composed."""
    headers = [
        (name.removeprefix("HTTP_").replace("_", "-").lower().encode("ascii"), str(value).encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value != "")
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": environ["PATH_INFO"].encode("latin-1").decode(errors="replace"),
        "root_path": environ["SCRIPT_NAME"],
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": headers,
        "client": [environ["REMOTE_ADDR"], 0],
        "server": [environ["SERVER_NAME"], environ["SERVER_PORT"]],
    }
    if (body := environ.get("wsgi.input")) is not None:
        scope["_body_file"] = body
    return scope


def _blocks(kit: ChatKit, content: AsyncGenerator[bytes, None]) -> Iterator[bytes]:
    async def read() -> bytes | None:
        return await anext(content, None)

    try:
        while (block := kit.run(read())) is not None:
            yield block
    finally:
        # The body of a response that is closed after its test has ended with the event loop.
        if ChatKit.current is kit:
            kit.run(content.aclose())


class ChatTestMixin:
    """Goes before Django's ``TestCase`` or ``TransactionTestCase``, and gives each test an empty log.

    ``self.client`` is a :class:`ChatClient`, ``self.chat_kit`` the :class:`ChatKit` of the test. A test that leaves an
    answer running fails.
    """

    client_class = ChatClient
    chat_log: Log = "memory"
    """Where the log is: in memory, or in a temporary SQLite file."""
    chat_kit: ChatKit
    _testMethodName: str  # noqa: N815 - unittest's

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the test; an asynchronous one runs in the event loop that synchronous requests of ``setUp`` have used."""
        test = getattr(self, self._testMethodName)
        if not inspect.iscoroutinefunction(test):
            return super().__call__(*args, **kwargs)  # type: ignore[misc]

        @functools.wraps(test)
        def run_in_loop() -> None:
            self.chat_kit.run(test())

        # Before Django, which would give it an event loop of its own.
        setattr(self, self._testMethodName, run_in_loop)
        try:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        finally:
            delattr(self, self._testMethodName)

    def __getstate__(self) -> dict[str, Any]:
        # Django sends tests with failed subtests from one process to another.
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {name: value for name, value in state.items() if name not in ("chat_kit", self._testMethodName)}

    def run(self, result: Any = None) -> Any:
        """Run the test with a log of its own."""
        name: str = self.id()  # type: ignore[attr-defined]
        with ChatKit(name, log=self.chat_log) as self.chat_kit:
            # The first of all cleanups is called last, still in the transaction of the test.
            self.addCleanup(self.chat_kit.end)  # type: ignore[attr-defined]
            return super().run(result)  # type: ignore[misc]
