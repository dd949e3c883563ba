from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack
from django.core.checks import CheckMessage, run_checks
from django.test import override_settings
from django.urls import include, path

from resumable_stream import ResumableChatView, checks
from resumable_stream.backends.sqlite.backend import CHECK_UNWRITABLE
from resumable_stream.conf import SQLITE_BACKEND

from .support.manual import UrlConf

MEMORY = {"default": {"BACKEND": "resumable_stream.backends.memory.MemoryBackend"}}


@pytest.fixture(autouse=True)
def sound_project(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A project that nothing is wrong with; each test spoils one thing."""
    for name in ("S2_BASIN", "S2_BATCH_SIZE", "S2_LINGER_DURATION_MS"):
        monkeypatch.delenv(name, raising=False)
    settings.DEBUG = False
    settings.ASGI_APPLICATION = "project.asgi.application"
    path = str(tmp_path / "log.sqlite3")
    sqlite = {"BACKEND": "resumable_stream.backends.sqlite.SQLiteBackend", "OPTIONS": {"path": path}}
    settings.RESUMABLE_STREAM = {"BACKENDS": {"default": sqlite}}


def found() -> list[CheckMessage]:
    return run_checks(tags=[checks.TAG])


def ids() -> list[str | None]:
    return [message.id for message in found()]


def change(settings: Any, **values: Any) -> None:
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, **values}


def test_a_sound_project_hears_nothing(tmp_path: Path) -> None:
    assert found() == []
    assert list(tmp_path.iterdir()) == []


def test_settings_that_are_no_dictionary(settings: Any) -> None:
    settings.RESUMABLE_STREAM = "sqlite"

    assert checks.E001_NOT_A_DICTIONARY in ids()


def test_a_wrong_value(settings: Any) -> None:
    change(settings, LEASE_SECONDS="long")
    (message,) = found()

    assert message.id == checks.E002_BAD_VALUE
    assert "'LEASE_SECONDS'" in message.msg


def test_a_wrong_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2_BATCH_SIZE", "many")
    (message,) = found()

    assert message.id == checks.E002_BAD_VALUE
    assert "S2_BATCH_SIZE" in message.msg


@pytest.mark.parametrize(
    "backend",
    [
        {"BACKEND": "nowhere.Backend"},
        {"BACKEND": "builtins.dict"},
        {"BACKEND": "resumable_stream.backends.memory.MemoryBackend", "OPTIONS": {"path": "x"}},
        {"OPTIONS": {}},
        "sqlite",
    ],
    ids=["not there", "no backend", "unknown option", "no path", "no dictionary"],
)
def test_a_backend_that_cannot_be_made(settings: Any, backend: Any) -> None:
    change(settings, BACKENDS={"default": backend})
    (message,) = found()

    assert message.id == checks.E003_BAD_BACKEND
    assert "'default'" in message.msg


@pytest.mark.parametrize("path", ["nowhere.Chat", "tests.views.chats.Nothing", "Chat"])
def test_a_chat_view_that_cannot_be_imported(settings: Any, path: str) -> None:
    change(settings, CHAT_VIEW=path)
    (message,) = found()

    assert message.id == checks.E004_BAD_CHAT_VIEW
    assert path in message.msg


def test_a_chat_view_that_is_there(settings: Any) -> None:
    change(settings, CHAT_VIEW="tests.views.chats.Chat")

    assert found() == []


@pytest.mark.parametrize(("key", "hint"), [("LEASE_SECOND", "'LEASE_SECONDS'"), ("zzz", "Known are")])
def test_a_misspelt_setting(settings: Any, key: str, hint: str) -> None:
    change(settings, **{key: 5})
    (message,) = found()

    assert message.id == checks.W001_UNKNOWN_SETTING
    assert hint in (message.hint or "")


def test_a_backend_that_forgets(settings: Any) -> None:
    change(settings, BACKENDS=MEMORY)
    assert ids() == [checks.W002_BACKEND_FORGETS]
    settings.DEBUG = True
    assert ids() == []


def test_no_sign_of_asgi(settings: Any) -> None:
    del settings.ASGI_APPLICATION

    assert ids() == [checks.W003_NO_ASGI]


def test_a_keep_alive_that_proxies_do_not_wait_for(settings: Any) -> None:
    change(settings, KEEPALIVE_SECONDS=60)

    assert ids() == [checks.W004_KEEPALIVE_TOO_LONG]


# CI runs as root, which may write everywhere: the test becomes another user, and only root can do that and return.
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may become somebody else for a moment")
@pytest.mark.parametrize("part", ["directory", "file", "write-ahead log"])
def test_a_log_that_this_user_cannot_write(settings: Any, part: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "streams.sqlite3")
        change(settings, BACKENDS={"default": {"BACKEND": SQLITE_BACKEND, "OPTIONS": {"path": str(file)}}})
        assert found() == []
        Path(directory).chmod(0o755 if part == "directory" else 0o777)
        if part == "file":
            file.touch(mode=0o644)
        if part == "write-ahead log":
            Path(f"{file}-wal").touch(mode=0o644)
        os.seteuid(65534)
        try:
            (message,) = found()
        finally:
            os.seteuid(0)
        assert message.id == CHECK_UNWRITABLE
        assert directory in message.msg
        assert list(Path(directory).iterdir()) == {"directory": [], "file": [file]}.get(part, [Path(f"{file}-wal")])


def test_a_log_below_what_is_no_directory(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "file" / "below" / "streams.sqlite3"
    change(settings, BACKENDS={"default": {"BACKEND": SQLITE_BACKEND, "OPTIONS": {"path": str(file)}}})
    (message,) = found()

    assert message.id == CHECK_UNWRITABLE


class PageChat(ResumableChatView):
    format = "html"


@pytest.mark.parametrize(
    "templates", [[], [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": False}]]
)
def test_pages_without_templates(settings: Any, templates: Any) -> None:
    with override_settings(ROOT_URLCONF=UrlConf(path("api/", include([path("chat", include(PageChat.urls()))])))):
        assert found() == []
        settings.TEMPLATES = templates
        (message,) = found()
    assert found() == []

    assert message.id == checks.E005_NO_TEMPLATES
    assert "PageChat" in message.msg


def test_origins_may_be_the_word_for_all_of_them(settings: Any) -> None:
    change(settings, ALLOWED_ORIGINS="*")
    assert ids() == [checks.W006_ANY_ORIGIN]
    change(settings, ALLOWED_ORIGINS="https://*.example.com")
    (message,) = found()

    assert message.id == checks.E002_BAD_VALUE
    assert "must be a list or a tuple or one of '*'" in message.msg


def test_no_sessions(settings: Any) -> None:
    settings.MIDDLEWARE = []

    assert ids() == [checks.W005_NO_SESSIONS]


def test_gzip(settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]

    assert ids() == [checks.I001_GZIP]


def test_one_mistake_does_not_hide_the_others(settings: Any) -> None:
    settings.MIDDLEWARE = []
    change(settings, BACKENDS=5, CHAT_VIEW=5, KEEPALIVE_SECONDS="x", TYPO=1)

    assert sorted(map(str, ids())) == sorted(
        [checks.E002_BAD_VALUE] * 3 + [checks.W001_UNKNOWN_SETTING, checks.W005_NO_SESSIONS]
    )


def test_every_message_has_a_hint(settings: Any) -> None:
    del settings.ASGI_APPLICATION
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware"]
    change(settings, BACKENDS=MEMORY, CHAT_VIEW="x.Y", KEEPALIVE_SECONDS=100, LEASE_SECONDS=0, TYPO=1)
    messages = found()

    assert len(messages) == 8
    assert all(message.hint for message in messages)


def test_ids_are_unique_and_all_ours() -> None:
    package = Path(inspect.getfile(checks)).parent
    constants: list[str] = []
    for module in package.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                value = node.value.value
                if isinstance(value, str) and value.startswith("resumable_stream.") and value[-3:].isdigit():
                    constants.append(value)

    assert len(constants) >= 10
    assert len(set(constants)) == len(constants)


PROJECT = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.sessions", "resumable_stream"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
ROOT_URLCONF = "routes"
ASGI_APPLICATION = "asgi.application"
RESUMABLE_STREAM = {"CHAT_VIEW": "chats.Chat"}
"""
CHATS = """
from resumable_stream import ResumableChatView

class Chat(ResumableChatView):
    async def generate(self, turn):
        yield "Hello"
"""
ROUTES = """
from django.urls import include, path
from chats import Chat


class Other(Chat):
    pass


urlpatterns = [
    path("api/chat", include("resumable_stream.urls")),
    path("api/slash/", include(Other.urls())),
]
"""


def test_manage_py_check_finds_nothing_to_say_about_our_routes(tmp_path: Path) -> None:
    for name, text in {"project": PROJECT, "chats": CHATS, "routes": ROUTES}.items():
        (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, "-W", "error", "-m", "django", "check", "--settings", "project", "--fail-level", "DEBUG"]
    path = f"{tmp_path}:{Path(__file__).parent.parent}"
    done = subprocess.run(command, env={"PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("System check identified no issues (0 silenced).\n", "")


def stack(layers: list[Any]) -> Any:
    """Make what ``ASGI_APPLICATION`` would name: routes under these layers of middleware."""
    application: Any = URLRouter([])
    for layer in reversed(layers):
        application = layer(application)
    return ProtocolTypeRouter({"websocket": application})


unguarded = stack([SessionMiddlewareStack])
guarded = stack([SessionMiddlewareStack, AllowedHostsOriginValidator])
guarded_outside = stack([AllowedHostsOriginValidator, SessionMiddlewareStack])


@pytest.mark.parametrize("name", ["unguarded", "guarded", "guarded_outside", "missing"])
def test_websockets_for_pages_of_any_site(settings: Any, name: str) -> None:
    settings.ASGI_APPLICATION = f"{__name__}.{name}"
    assert ids() == []
    change(settings, ALLOWED_ORIGINS=["*"])
    assert ids() == ([] if name.startswith("guarded") else [checks.W006_ANY_ORIGIN])


@pytest.mark.parametrize(
    ("options", "expected"), [({}, 1), ({"retention_seconds": 60}, 0), ({"retention_seconds": None}, 0)]
)
def test_deploy_check_finds_an_embedded_log_without_retention(
    settings: Any, tmp_path: Path, options: dict[str, Any], expected: int
) -> None:
    path = str(tmp_path / "log.sqlite3")
    sqlite = {"BACKEND": SQLITE_BACKEND, "OPTIONS": {"path": path, **options}}
    change(settings, BACKENDS={"default": sqlite})

    messages = run_checks(tags=[checks.TAG], include_deployment_checks=True)

    assert [message.id for message in messages] == [checks.W008_NO_RETENTION] * expected


@pytest.mark.parametrize(
    ("options", "expected"), [({}, 1), ({"retention_seconds": 60}, 0), ({"retention_seconds": None}, 0)]
)
def test_deploy_check_finds_a_basin_whose_retention_nobody_has_stated(
    settings: Any, options: dict[str, Any], expected: int
) -> None:
    given = {"basin": "test-basin", "access_token": "t", **options}
    change(settings, BACKENDS={"default": {"BACKEND": "resumable_stream.backends.s2.S2Backend", "OPTIONS": given}})

    messages = run_checks(tags=[checks.TAG], include_deployment_checks=True)

    assert [message.id for message in messages] == [checks.W008_NO_RETENTION] * expected
    assert all("7 days" in message.msg for message in messages)
