"""Routes of the example: the chat's own under ``api/chat``, and the page around it."""

from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.page, name="page"),
    path("c/<slug:chat_id>", views.page, name="chat"),
    path("chats", views.chats, name="chats"),
    path("log/<slug:chat_id>", views.log, name="log"),
    path("api/chat", include(views.DemoChat.urls())),
]
