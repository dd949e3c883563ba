"""The settings of this app: one dictionary, ``RESUMABLE_STREAM``, read when used.

Each attribute of :class:`Settings` is one key of the dictionary; its docstring gives meaning and unit. Where the
dictionary is silent, S2's own environment variables fill in (``S2_BASIN`` and the like), then the default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, overload

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

SETTING_NAME = "RESUMABLE_STREAM"
SQLITE_BACKEND = "resumable_stream.backends.sqlite.SQLiteBackend"
S2_BACKEND = "resumable_stream.backends.s2.S2Backend"

T = TypeVar("T")


class Setting(Generic[T]):
    """One key: its default, the environment variable that fills it, and what values it takes."""

    name: str

    def __init__(
        self,
        default: T | Callable[[], T],
        *,
        kind: type | tuple[type, ...],
        env: str | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        choices: tuple[str, ...] = (),
    ) -> None:
        self._default = default
        self._kind = kind
        self._env = env
        self._minimum = minimum
        self._maximum = maximum
        self._choices = choices

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.upper()

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: Settings, owner: type) -> T: ...
    def __get__(self, instance: Settings | None, owner: type) -> T | Setting[T]:
        if instance is None:
            return self
        value: T = self.value(user_settings())
        problem = self.problem(value)
        if problem is not None:
            raise ImproperlyConfigured(problem)
        return value

    def value(self, values: Mapping[str, Any]) -> Any:
        """Look the value up without judging it."""
        if self.name in values:
            return values[self.name]
        if self._env is not None and os.environ.get(self._env):
            return self._from_environment(os.environ[self._env])
        return self._default() if callable(self._default) else self._default

    def problem(self, value: Any) -> str | None:
        """Say what is wrong with ``value``, or ``None``."""
        where = f"{SETTING_NAME}[{self.name!r}]"
        # bool is an int to Python, but True seconds are a mistake.
        if not isinstance(value, self._kind) or (isinstance(value, bool) and self._kind is not bool):
            return f"{where} must be {self._kind_name()}, not {value!r}."
        if self._minimum is not None and isinstance(value, (int, float)) and value < self._minimum:
            return f"{where} must be at least {self._minimum}, not {value!r}."
        if self._maximum is not None and isinstance(value, (int, float)) and value > self._maximum:
            return f"{where} must be at most {self._maximum}, not {value!r}."
        if self._choices and isinstance(value, str) and value not in self._choices:
            others = "".join(f"a {kind.__name__} or " for kind in self._kinds() if kind is not str)
            return f"{where} must be {others}one of {', '.join(map(repr, self._choices))}, not {value!r}."
        return None

    def _from_environment(self, text: str) -> Any:
        try:
            return int(text)
        except ValueError:
            raise ImproperlyConfigured(
                f"The environment variable {self._env} must be a whole number, not {text!r}."
            ) from None

    def _kind_name(self) -> str:
        return " or ".join("None" if kind is type(None) else kind.__name__ for kind in self._kinds())

    def _kinds(self) -> tuple[type, ...]:
        return self._kind if isinstance(self._kind, tuple) else (self._kind,)


NUMBER = (int, float)


def _default_backends() -> dict[str, dict[str, Any]]:
    backend = S2_BACKEND if os.environ.get("S2_BASIN") else SQLITE_BACKEND
    return {"default": {"BACKEND": backend, "OPTIONS": {}}}


class Settings:
    """Typed, lazy view of ``settings.RESUMABLE_STREAM``."""

    backends = Setting[dict[str, dict[str, Any]]](_default_backends, kind=dict)
    """Alias -> ``{"BACKEND": dotted path, "OPTIONS": {...}}``. Default: S2 if ``S2_BASIN`` is set in the environment,
    otherwise the embedded SQLite log."""
    chat_view = Setting[str | None](None, kind=(str, type(None)))
    """Dotted path of the ``ResumableChatView`` subclass that ``include("resumable_stream.urls")`` serves."""

    lease_seconds = Setting[float](10, kind=NUMBER, minimum=1)
    """How long the event loop of a silent writer may be busy before others may end its generation. Its heartbeats come
    four times as often; others wait for a lease from when one was due."""
    linger_ms = Setting[float](5, kind=NUMBER, env="S2_LINGER_DURATION_MS", minimum=0)
    """Least distance, in milliseconds, between two appends of one stream; never under 5. The first append after a
    pause goes at once, and the distance grows by itself with the load of the process."""
    batch_size = Setting[int](1000, kind=int, env="S2_BATCH_SIZE", minimum=1)
    """Most chunks in one append; never over 1000."""
    max_pending_bytes = Setting[int](256 * 1024, kind=int, minimum=1)
    """Bytes of one generation that may wait for their append before the producer is made to wait."""
    max_body_bytes = Setting[int](20 * 1024 * 1024, kind=int, minimum=1024)
    """Largest JSON body of a request, in bytes. Chat clients post the whole chat with each message, with what answers
    have brought into it (pictures, documents), so Django's ``DATA_UPLOAD_MAX_MEMORY_SIZE`` does not hold for these."""
    max_messages = Setting[int](1000, kind=int, minimum=1)
    """Most messages in one request; clients post the whole chat with each message."""
    history_turns = Setting[int](100, kind=int, minimum=1)
    """Most turns of a chat that a client gets at once when it loads the chat: the newest, and older ones by a cursor.
    There are never more messages than half of ``MAX_MESSAGES``, for clients post them with the next one."""
    max_json_depth = Setting[int](512, kind=int, minimum=32, maximum=512)
    """Levels of nesting that a body or a frame may have, and by 16 more than a chunk may: what an answer brings into a
    chat, its client sends back inside of messages."""
    max_chunk_bytes = Setting[int](16 * 1024 * 1024, kind=int, minimum=1024)
    """Largest chunk, in bytes; a larger one fails the generation."""
    max_generation_seconds = Setting[float | None](1800, kind=(*NUMBER, type(None)), minimum=1)
    """How long a generation may take; then it ends as ``failed``. Bounds a model that hangs. ``None`` for no limit."""
    max_generation_bytes = Setting[int | None](64 * 1024 * 1024, kind=(int, type(None)), minimum=1024)
    """How many bytes the chunks of a generation may have in all; then it ends as ``failed``. Bounds a model that loops.
    ``None`` for no limit."""
    append_timeout_seconds = Setting[float](30, kind=NUMBER, minimum=0)
    """How long a writer tries to reach a failing log before it gives its generation up."""

    ring_bytes = Setting[int](512 * 1024, kind=int, minimum=1)
    """Most bytes of recent frames kept in memory, for each stream, for readers who lag. Room for one full append of
    short chunks, with which every reader lags for a moment."""
    keepalive_seconds = Setting[float](15, kind=NUMBER, minimum=1)
    """An idle event stream gets a comment this often. Below the 60 s after which proxies commonly cut."""
    reauthorize_seconds = Setting[float](60, kind=NUMBER, minimum=1)
    """A live reader's right to read is checked again this often."""
    resume_after_end_seconds = Setting[float](300, kind=NUMBER, minimum=0)
    """For so long after an answer's end a client that resumes without a cursor gets it once more from its start, if its
    library makes the message anew: it may have been away when the answer ended. 0 never."""
    deliver = Setting[str]("durable", kind=str, choices=("durable", "live"))
    """What the starting response streams: ``"durable"`` shows a chunk once the log has it, ``"live"`` at once."""

    max_generations = Setting[int | None](500, kind=(int, type(None)), minimum=1)
    """Generations that may run in this process; ``None`` for no limit."""
    max_readers = Setting[int | None](5000, kind=(int, type(None)), minimum=1)
    """Readers that may be open in this process: event streams, long polls, what websockets follow, and requests that
    load a chat; ``None`` for no limit. Each takes a connection, or a share of a websocket's, and some 30 KiB."""
    max_sockets = Setting[int | None](2000, kind=(int, type(None)), minimum=1)
    """Websockets that may be open in this process; ``None`` for no limit."""
    max_generations_per_owner = Setting[int | None](10, kind=(int, type(None)), minimum=1)
    """Generations that one owner may have running in this process; ``None`` for no limit. A view's ``limit_key`` says
    for whom a request counts, also for the next two."""
    max_readers_per_owner = Setting[int | None](100, kind=(int, type(None)), minimum=1)
    """Readers that one owner may have open in this process; ``None`` for no limit."""
    max_sockets_per_owner = Setting[int | None](50, kind=(int, type(None)), minimum=1)
    """Websockets that one owner may have open in this process; ``None`` for no limit."""

    max_subscriptions_per_socket = Setting[int](100, kind=int, minimum=1)
    """Streams that one websocket may follow at once. Each counts as a reader of its owner too."""
    max_frame_bytes = Setting[int](16 * 1024 * 1024, kind=int, minimum=1)
    """Largest frame that a websocket may send, in bytes; as large as what uvicorn lets through by default."""
    socket_idle_seconds = Setting[float](300, kind=NUMBER, minimum=1)
    """A websocket that follows nothing and says nothing for so long is closed."""
    allowed_origins = Setting[list[str] | tuple[str, ...] | str]((), kind=(list, tuple, str), choices=("*",))
    """Origins (``https://app.example.com``) whose pages may open websockets, beside the site's own and those in
    ``CSRF_TRUSTED_ORIGINS``; ``"*"`` for any."""

    shutdown_grace_seconds = Setting[float](10, kind=NUMBER, minimum=0)
    """How long running generations may go on after SIGTERM before they end as ``interrupted``."""
    handle_signals = Setting[bool](True, kind=bool)
    """Whether SIGTERM is noticed, before the server's own handler, to drain this process. If not, await
    ``resumable_stream.runtime.runtime().drain(seconds)`` in its event loop yourself."""


settings = Settings()


def known_settings() -> dict[str, Setting[Any]]:
    """Map each key of the dictionary to its definition."""
    found = (value for value in vars(Settings).values() if isinstance(value, Setting))
    return {setting.name: setting for setting in found}


def user_settings() -> Mapping[str, Any]:
    """Return the dictionary from Django's settings.

    Raises:
        ImproperlyConfigured: It is not a dictionary.
    """
    values = getattr(django_settings, SETTING_NAME, {})
    if not isinstance(values, Mapping):
        raise ImproperlyConfigured(f"{SETTING_NAME} must be a dictionary, not {type(values).__name__}.")
    return values
