"""Routes of the project under load."""

from django.urls import include, path

from . import views

urlpatterns = [
    path("chat", include(views.LoadChat.urls())),
    path("background", include(views.BackgroundChat.urls())),
    path("session", include(views.SessionChat.urls())),
    path("commits", views.commits),
    path("counts", views.counts),
    path("ended", views.ended),
    path("tidy", views.tidy_up),
]
