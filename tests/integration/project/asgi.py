"""The ASGI application that the tests' servers serve."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.sessions import SessionMiddlewareStack
from django.core.asgi import get_asgi_application
from django.urls import path, re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.integration.project.settings")
django_application = get_asgi_application()

from resumable_stream.asgi import DrainOnShutdown  # noqa: E402
from resumable_stream.consumers import EventStreamConsumer, StreamConsumer  # noqa: E402
from resumable_stream.websockets.subprotocols.aisdk import AISDKDialect  # noqa: E402
from resumable_stream.websockets.subprotocols.tanstack import TanStackDialect  # noqa: E402

from .views import NativeTanStackChat, ScriptedChat  # noqa: E402

replays = EventStreamConsumer.as_asgi(view=ScriptedChat, action="replay")
sockets = [
    path("api/chat/socket", StreamConsumer.as_asgi(view=ScriptedChat)),
    path("api/chat/socket/aisdk", StreamConsumer.as_asgi(view=ScriptedChat, dialects=[AISDKDialect])),
    path("api/native/socket", StreamConsumer.as_asgi(view=NativeTanStackChat, dialects=[TanStackDialect])),
]
application_without_lifespan = ProtocolTypeRouter(
    {
        # The consumer's event streams stand beside the view's own, at a prefix of their own.
        "http": URLRouter(
            [path("channels/chat/replay", SessionMiddlewareStack(replays)), re_path("", django_application)]
        ),
        "websocket": SessionMiddlewareStack(URLRouter(sockets)),
    }
)
application = DrainOnShutdown(application_without_lifespan)
