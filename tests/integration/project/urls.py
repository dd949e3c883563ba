"""Routes of the project that the integration tests serve."""

from django.urls import include, path

from . import views

urlpatterns = [
    path("api/chat", include(views.ScriptedChat.urls())),
    path("api/text", include(views.TextChat.urls())),
    path("api/single-use", include(views.SingleUseChat.urls())),
    path("api/shared", include(views.SharedChat.urls())),
    path("api/replay", include(views.ReplayChat.urls())),
    path("csrf", views.csrf),
    path("gates/<str:name>/reached", views.gate_reached),
    path("gates/<str:name>/open", views.open_gate),
]
