"""``path("api/chat", include("resumable_stream.urls"))``: the chat of the ``CHAT_VIEW`` setting."""

from __future__ import annotations

from .views.chat_view import configured_view
from .views.routes import routes

app_name = "resumable_stream"
urlpatterns = routes(configured_view())
