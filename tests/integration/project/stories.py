"""Streams of strings, as the manual serves them and the scripted model tells them: a URLconf of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt

from tests.support.manual import run_python

from . import model, views


def tell(topic: str) -> AsyncIterator[Any]:
    """Tell of a topic, which is a list of the model's steps."""
    return model.play([{"role": "user", "content": topic}])


@method_decorator(csrf_exempt, name="dispatch")
class Story(run_python("docs/generic-streams.md", tell=tell)["Story"]):
    """The manual's view, on a site without users."""

    async def stream_id(self, request: HttpRequest, story_id: str) -> str:
        return story_id


urlpatterns = [
    path("stories/<story_id>", Story.as_view()),
    path("gates/<str:name>/reached", views.gate_reached),
    path("gates/<str:name>/open", views.open_gate),
]
