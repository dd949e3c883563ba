"""System checks: one function per topic; ids are never used again for anything else."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Info, Warning, register  # noqa: A004 - Django's name for it
from django.core.exceptions import ImproperlyConfigured
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.utils.module_loading import import_string

from .asgi import DrainOnShutdown
from .backends import backends
from .chat.stream_names import CHAT_PARAMETER
from .conf import SETTING_NAME, known_settings, settings, user_settings
from .formats.html.format import HTMLFormat
from .mounts import Mount, mounts

TAG = "resumable_stream"

E001_NOT_A_DICTIONARY = "resumable_stream.E001"
E002_BAD_VALUE = "resumable_stream.E002"
E003_BAD_BACKEND = "resumable_stream.E003"
E004_BAD_CHAT_VIEW = "resumable_stream.E004"
E005_NO_TEMPLATES = "resumable_stream.E005"
E006_CAPTURED_CHAT_ID = "resumable_stream.E006"
W001_UNKNOWN_SETTING = "resumable_stream.W001"
W002_BACKEND_FORGETS = "resumable_stream.W002"
W003_NO_ASGI = "resumable_stream.W003"
W004_KEEPALIVE_TOO_LONG = "resumable_stream.W004"
W005_NO_SESSIONS = "resumable_stream.W005"
W006_ANY_ORIGIN = "resumable_stream.W006"
W007_SHARED_CHATS = "resumable_stream.W007"
W008_NO_RETENTION = "resumable_stream.W008"
I001_GZIP = "resumable_stream.I001"

ANSWER_TEMPLATE = "resumable_stream/answer.html"
PROXY_IDLE_SECONDS = 60
"""After this long without a byte nginx, ALB and others cut a connection, unless told otherwise."""
GZIP_MIDDLEWARE = "django.middleware.gzip.GZipMiddleware"
SESSION_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"


@register(TAG)
def check_values(**_: Any) -> list[CheckMessage]:
    """Judge every key of the dictionary, and the environment variables that stand in for it."""
    try:
        values = user_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint=f"Write {SETTING_NAME} = {{...}}.", id=E001_NOT_A_DICTIONARY)]
    known = known_settings()
    messages: list[CheckMessage] = [_unknown(key, known) for key in values if key not in known]
    for setting in known.values():
        try:
            problem = setting.problem(setting.value(values))
        except ImproperlyConfigured as error:
            problem = str(error)
        if problem is not None:
            messages.append(Error(problem, hint="See the settings in the manual.", id=E002_BAD_VALUE))
    return messages


def _unknown(key: object, known: Iterable[str]) -> CheckMessage:
    close = difflib.get_close_matches(str(key).upper(), list(known), n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(sorted(known))}."
    return Warning(f"{SETTING_NAME} has no setting {key!r}.", hint=hint, id=W001_UNKNOWN_SETTING)


@register(TAG)
def check_backends(**_: Any) -> list[CheckMessage]:
    """Make each backend, without opening anything, and let it judge its own options."""
    try:
        aliases = list(settings.backends)
    except ImproperlyConfigured:
        return []  # told by check_values
    messages: list[CheckMessage] = []
    for alias in aliases:
        try:
            backend = backends[alias]
        except ImproperlyConfigured as error:
            hint = f"Correct {SETTING_NAME}['BACKENDS'][{alias!r}]."
            messages.append(Error(str(error), hint=hint, id=E003_BAD_BACKEND))
            continue
        messages += backend.check()
        if not backend.is_durable and not django_settings.DEBUG:
            messages.append(
                Warning(
                    f"The backend {alias!r} forgets every chat when its process ends, and DEBUG is off.",
                    hint="Use the SQLite backend (the default) or S2; the memory backend is for tests.",
                    id=W002_BACKEND_FORGETS,
                )
            )
    return messages


@register(TAG, deploy=True)
def check_retention(**_: Any) -> list[CheckMessage]:
    """Warn of a log of which nobody has said how long it keeps chats."""
    try:
        made = {alias: backends[alias] for alias in settings.backends}
    except ImproperlyConfigured:
        return []  # told by the checks above
    return [
        Warning(
            f"The backend {alias!r} keeps chats {backend.unstated_retention}: its OPTIONS have no 'retention_seconds'.",
            hint="Say after how many seconds records may go, for instance 90 * 86400, or None to leave it so. On S2, "
            "run 'manage.py resumable_stream setup' then.",
            id=W008_NO_RETENTION,
        )
        for alias, backend in made.items()
        if backend.unstated_retention
    ]


@register(TAG)
def check_chat_view(**_: Any) -> list[CheckMessage]:
    """Import the view that ``include("resumable_stream.urls")`` would serve."""
    try:
        path = settings.chat_view
    except ImproperlyConfigured:
        return []  # told by check_values
    if path is None:
        return []
    try:
        import_string(path)
    except ImportError as error:
        hint = "Name your ResumableChatView subclass by its dotted path, for instance 'support.views.SupportChat'."
        return [Error(f"{SETTING_NAME}['CHAT_VIEW'] = {path!r}: {error}", hint=hint, id=E004_BAD_CHAT_VIEW)]
    return []


@register(TAG)
def check_templates(**_: Any) -> list[CheckMessage]:
    """Look for the templates that views of the format ``html`` render, if any view of that format is routed."""
    views = {
        view.__name__
        for view in {mount.view for mount in mounts()}
        if view.format == "html" or isinstance(view.format, HTMLFormat)
    }
    if not views:
        return []
    try:
        get_template(ANSWER_TEMPLATE)
    except (TemplateDoesNotExist, ImproperlyConfigured) as error:
        names = ", ".join(sorted(views))
        return [
            Error(
                f"{names}: format 'html' renders templates, and {ANSWER_TEMPLATE} is not found: {error}",
                hint="Have an engine in TEMPLATES with APP_DIRS on, and 'resumable_stream' in INSTALLED_APPS.",
                id=E005_NO_TEMPLATES,
            )
        ]
    return []


@register(TAG)
def check_mounts(**_: Any) -> list[CheckMessage]:
    """Look for chats that meet in one stream, and for prefixes that take the name of our own parameter."""
    messages: list[CheckMessage] = []
    by_chats: dict[object, list[Mount]] = {}
    for mount in mounts():
        if CHAT_PARAMETER in mount.captured:
            messages.append(
                Error(
                    f"The prefix {mount.path!r} of {mount.view.__name__} captures {CHAT_PARAMETER!r}, which is the "
                    "parameter of the chat's own routes.",
                    hint="Give the parameter of the prefix another name.",
                    id=E006_CAPTURED_CHAT_ID,
                )
            )
        if mount.chats is not None:
            by_chats.setdefault(mount.chats, []).append(mount)
    for sharing in by_chats.values():
        if len(sharing) > 1:
            places = ", ".join(f"{mount.view.__name__} at {mount.path!r}" for mount in sharing)
            messages.append(
                Warning(
                    f"These show each other's chats, since their streams have the same names: {places}.",
                    hint="Set another name on one of the views (of one view that is mounted twice, make a subclass). "
                    "If they are meant to show the same chats, silence this.",
                    id=W007_SHARED_CHATS,
                )
            )
    return messages


@register(TAG)
def check_server(**_: Any) -> list[CheckMessage]:
    """Look for signs that the project is served by ASGI."""
    if getattr(django_settings, "ASGI_APPLICATION", None) or apps.is_installed("daphne"):
        return []
    return [
        Warning(
            "Nothing says that this project is served by ASGI; under WSGI an event stream arrives in one piece.",
            hint="Set ASGI_APPLICATION and run an ASGI server (uvicorn, daphne). For runserver, put 'daphne' first "
            "in INSTALLED_APPS.",
            id=W003_NO_ASGI,
        )
    ]


@register(TAG)
def check_middleware(**_: Any) -> list[CheckMessage]:
    """Look at middleware that event streams and anonymous visitors depend on."""
    messages: list[CheckMessage] = []
    if GZIP_MIDDLEWARE in django_settings.MIDDLEWARE:
        messages.append(
            Info(
                "GZipMiddleware is active. Event streams are exempt: compressed frames would be held back.",
                hint="Keep the header 'Content-Encoding: identity' that our responses carry.",
                id=I001_GZIP,
            )
        )
    if SESSION_MIDDLEWARE not in django_settings.MIDDLEWARE:
        messages.append(
            Warning(
                "SessionMiddleware is missing: anonymous visitors cannot own chats.",
                hint=f"Add {SESSION_MIDDLEWARE!r} to MIDDLEWARE. If your views override get_owner(), silence this.",
                id=W005_NO_SESSIONS,
            )
        )
    return messages


@register(TAG)
def check_keepalive(**_: Any) -> list[CheckMessage]:
    """Compare the keep-alive interval with what common proxies allow."""
    try:
        seconds = settings.keepalive_seconds
    except ImproperlyConfigured:
        return []  # told by check_values
    if seconds < PROXY_IDLE_SECONDS:
        return []
    return [
        Warning(
            f"{SETTING_NAME}['KEEPALIVE_SECONDS'] is {seconds}: proxies commonly cut after {PROXY_IDLE_SECONDS} s.",
            hint="Leave it at 15 unless you know every proxy on the way.",
            id=W004_KEEPALIVE_TOO_LONG,
        )
    ]


@register(TAG)
def check_origins(**_: Any) -> list[CheckMessage]:
    """Look for somebody who keeps other sites' pages away from websockets, if our consumer does not."""
    try:
        is_open = "*" in settings.allowed_origins
    except ImproperlyConfigured:
        return []  # told by check_values
    if not is_open or _validates_origins(getattr(django_settings, "ASGI_APPLICATION", None)):
        return []
    return [
        Warning(
            f"{SETTING_NAME}['ALLOWED_ORIGINS'] has '*': pages of any site may open websockets as your visitors.",
            hint="Name the origins, or wrap the websocket routes in Channels' AllowedHostsOriginValidator.",
            id=W006_ANY_ORIGIN,
        )
    ]


def _validates_origins(path: str | None) -> bool:
    """Tell whether Channels' validator stands somewhere above the websocket routes of the ASGI application."""
    try:
        routed = import_string(path) if path else None
    except ImportError:
        return False  # The server will say so.
    if isinstance(routed, DrainOnShutdown):
        routed = routed.application
    layer = getattr(routed, "application_mapping", {}).get("websocket")
    while layer is not None and type(layer).__name__ != "OriginValidator":
        # What Channels' own middleware calls the next one.
        layer = getattr(layer, "inner", None) or getattr(layer, "application", None)
    return layer is not None
