"""Routes of the project that the integration tests serve."""

from django.urls import include, path

from . import views

urlpatterns = [
    path("api/chat", include(views.ScriptedChat.urls())),
    path("api/text", include(views.TextChat.urls())),
    path("api/hello", include(views.HelloChat.urls())),
    path("api/posted-text", include(views.PostedTextChat.urls())),
    path("api/anthropic", include(views.AnthropicChat.urls())),
    path("api/html", include(views.HTMLChat.urls())),
    path("pages/htmx<int:version>/<str:chat_id>", views.htmx_page),
    path("pages/javascript-client/<str:chat_id>", views.javascript_client_page),
    path("pages/blank", views.blank_page),
    path("pages/react/<slug:name>", views.react_page),
    path("api/single-use", include(views.SingleUseChat.urls())),
    path("api/shared", include(views.SharedChat.urls())),
    path("api/replay", include(views.ReplayChat.urls())),
    path("api/tanstack", include(views.TanStackChat.urls())),
    path("api/native", include(views.NativeTanStackChat.urls())),
    path("api/tanstack-once", include(views.SingleUseTanStackChat.urls())),
    path("api/agui", include(views.AGUIChat.urls())),
    path("static/<path:name>", views.script),
    path("csrf", views.csrf),
    path("memory/<int:mebibytes>", views.take_memory),
    path("gates/<str:name>/reached", views.gate_reached),
    path("gates/<str:name>/open", views.open_gate),
]
