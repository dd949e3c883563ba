"""The ASGI application that daphne and uvicorn serve."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.integration.project.settings")
application = get_asgi_application()
