"""The ASGI application that ``runserver`` (through daphne), uvicorn or hypercorn serve."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")

# First: it loads the apps, and with them all that the routes below refer to.
django_application = get_asgi_application()

from resumable_stream.asgi import DrainOnShutdown  # noqa: E402
from resumable_stream.consumers import StreamConsumer  # noqa: E402

from .views import DemoChat  # noqa: E402

protocols = ProtocolTypeRouter(
    {
        "http": django_application,
        # A site with logins takes AuthMiddlewareStack instead; here visitors have a session and nothing else.
        "websocket": AllowedHostsOriginValidator(
            SessionMiddlewareStack(URLRouter([path("api/chat/socket", StreamConsumer.as_asgi(view=DemoChat))]))
        ),
    }
)
# For servers that tell the application of their end by the lifespan alone: hypercorn, and workers that are recycled.
application = DrainOnShutdown(protocols)
