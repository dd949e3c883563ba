"""The same application with a websocket beside it, as Channels serves it."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.project.settings")
django_application = get_asgi_application()

from resumable_stream.consumers import StreamConsumer  # noqa: E402

from .views import LoadChat  # noqa: E402

application = ProtocolTypeRouter({"http": django_application, "websocket": StreamConsumer.as_asgi(view=LoadChat)})
