"""Pages of another origin, with the settings that the manual gives for django-cors-headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.urls import include, path

from resumable_stream.chat.turn import Turn
from resumable_stream.http.responses import CURSOR_HEADER, GENERATION_HEADER
from resumable_stream.views import ResumableChatView

from ..support.logs import use_faulty_log
from ..support.manual import run_python
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Visitor

pytestmark = pytest.mark.urls("tests.views.test_cross_origin")
ORIGIN = "https://app.example.com"


class Chat(ResumableChatView):
    format = "text"

    async def generate(self, turn: Turn) -> AsyncIterator[str]:
        yield "Hello"


urlpatterns = [path("api/chat", include(Chat.urls()))]


@pytest.fixture
def cors(settings: Any) -> None:
    use_faulty_log(settings)
    for name, value in run_python("docs/deployment.md").items():
        if name.startswith(("CORS_", "CSRF_")):
            setattr(settings, name, value)
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]


def names(listed: str) -> set[str]:
    return {name.strip().lower() for name in listed.split(",")}


@in_virtual_time
async def test_a_page_may_read_what_it_needs_of_an_answers_headers(cors: None) -> None:
    started = await Visitor().post("/api/chat", {"id": "c1", "message": "Hi"}, Origin=ORIGIN)

    assert started.status == 200
    assert started.headers["Access-Control-Allow-Origin"] == ORIGIN
    exposed = names(started.headers["Access-Control-Expose-Headers"])
    ours = {name.lower() for name in started.headers if name.startswith("X-") and "Frame" not in name}
    assert {GENERATION_HEADER.lower(), CURSOR_HEADER.lower()} <= ours
    assert ours - exposed <= {"x-accel-buffering", "x-content-type-options"}


@in_virtual_time
async def test_a_page_may_send_the_headers_that_clients_send(cors: None) -> None:
    wanted = "content-type, x-csrftoken, last-event-id, idempotency-key, x-run-id"
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": wanted}
    answered = await Visitor().request("OPTIONS", "/api/chat", Origin=ORIGIN, **asked)

    assert names(wanted) <= names(answered.headers["Access-Control-Allow-Headers"])
    assert {"get", "post", "delete"} <= names(answered.headers["Access-Control-Allow-Methods"])
