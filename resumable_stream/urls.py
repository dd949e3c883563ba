"""``path("api/chat", include("resumable_stream.urls"))``: the chat of the ``CHAT_VIEW`` setting."""

from __future__ import annotations

from .routes import routes
from .views import configured_view

app_name = "resumable_stream"
urlpatterns = routes(configured_view())
