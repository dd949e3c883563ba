"""A project with django-oauth-toolkit, in a process of its own, and one client with a token: prints what that gets."""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
from typing import Any

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["testserver"],
    USE_TZ=True,
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "oauth2_provider",
        "resumable_stream",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "oauth2_provider.middleware.OAuth2TokenMiddleware",
    ],
    AUTHENTICATION_BACKENDS=[
        "oauth2_provider.backends.OAuth2Backend",
        "django.contrib.auth.backends.ModelBackend",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    MIGRATION_MODULES=dict.fromkeys(("contenttypes", "auth", "sessions", "oauth2_provider")),
    RESUMABLE_STREAM={
        "BACKENDS": {"default": {"BACKEND": "resumable_stream.backends.memory.MemoryBackend", "OPTIONS": {}}},
        "HANDLE_SIGNALS": False,
    },
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import AsyncClient  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.utils import timezone  # noqa: E402
from oauth2_provider.models import AccessToken  # noqa: E402

from resumable_stream import ResumableChatView  # noqa: E402

users: list[Any] = []


class Chat(ResumableChatView):
    format = "text"

    async def generate(self, turn: Any) -> Any:
        users.append(str(turn.user))
        yield "Hello"


urlpatterns = [path("api/chat", include(Chat.urls()))]


async def main() -> dict[str, Any]:
    user = await User.objects.acreate(username="ada")
    expires = timezone.now() + datetime.timedelta(hours=1)
    await AccessToken.objects.acreate(user=user, token="token", expires=expires, scope="read")
    client = AsyncClient()
    headers = {"Authorization": "Bearer token"}
    question = {"id": "42", "message": "Hi"}
    started: Any = await client.post("/api/chat", question, content_type="application/json", headers=headers)
    assert [part async for part in started.streaming_content]
    messages = await client.get("/api/chat/42/messages", headers=headers)
    stranger = await AsyncClient().get("/api/chat/42/messages")
    return {
        "users": users,
        "messages": [message["content"] for message in messages.json()["messages"]],
        "cookies": sorted(client.cookies),
        "stranger": stranger.json()["messages"],
    }


if __name__ == "__main__":
    call_command("migrate", run_syncdb=True, verbosity=0)
    sys.stdout.write(json.dumps(asyncio.run(main())))
