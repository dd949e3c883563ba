"""``path("api/chat", include("resumable_stream.urls"))``: the chat of the ``CHAT_VIEW`` setting."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .conf import SETTING_NAME, settings
from .routes import routes
from .views import ResumableChatView


def _chat_view() -> type[ResumableChatView]:
    path = settings.chat_view
    if path is None:
        raise ImproperlyConfigured(
            f"{SETTING_NAME}['CHAT_VIEW'] must name your ResumableChatView subclass, for instance "
            "'support.views.SupportChat' (or include(SupportChat.urls()) instead of 'resumable_stream.urls')."
        )
    try:
        view = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{SETTING_NAME}['CHAT_VIEW'] = {path!r} cannot be imported: {error}") from error
    if not (isinstance(view, type) and issubclass(view, ResumableChatView)):
        raise ImproperlyConfigured(f"{SETTING_NAME}['CHAT_VIEW'] = {path!r} is no subclass of ResumableChatView.")
    return view


app_name = "resumable_stream"
urlpatterns = routes(_chat_view())
