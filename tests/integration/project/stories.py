"""Streams of strings, told by the scripted model: a URLconf of its own."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from resumable_stream import ResumableStreamContext, ResumableStreamMixin

from . import model, views

streams = ResumableStreamContext()


@method_decorator(csrf_exempt, name="dispatch")
class Story(ResumableStreamMixin, View):
    """The body of a POST is the list of the model's steps."""

    async def post(self, request: HttpRequest, stream_id: str) -> HttpResponseBase:
        messages = [{"role": "user", "content": request.body.decode()}]
        return self.stream_response(await streams.resumable_stream(stream_id, lambda: model.play(messages)))

    async def get(self, request: HttpRequest, stream_id: str) -> HttpResponseBase:
        return self.stream_response(await streams.resume_stream(stream_id))

    async def delete(self, request: HttpRequest, stream_id: str) -> HttpResponseBase:
        return HttpResponse(status=202 if await streams.stop_stream(stream_id) else 204)


urlpatterns = [
    path("stories/<stream_id>", Story.as_view()),
    path("gates/<str:name>/reached", views.gate_reached),
    path("gates/<str:name>/open", views.open_gate),
]
