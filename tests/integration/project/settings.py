"""Settings of the project that the integration tests serve; the tests choose the app's own."""

import json
import os

from tests.support.manual import code_blocks

SECRET_KEY = "only-for-tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
# As the manual has it for nginx.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = ["django.contrib.sessions", "resumable_stream"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
# As with APP_DIRS, and the manual's pages as templates; their chats are at other prefixes here.
(HTMX_PAGE,) = code_blocks("docs/clients/htmx.md", "html")
(CLIENT_PAGE,) = code_blocks("docs/javascript-client.md", "html")
MANUAL = {
    "chat.html": HTMX_PAGE.replace("/api/chat", "/api/html"),
    "javascript_client.html": CLIENT_PAGE.replace("/api/chat", "/api/hello"),
}
LOADERS = [
    ("django.template.loaders.locmem.Loader", MANUAL),
    "django.template.loaders.app_directories.Loader",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": LOADERS}}]
STATIC_URL = "/static/"
ROOT_URLCONF = "tests.integration.project.urls"
ASGI_APPLICATION = "tests.integration.project.asgi.application"

RESUMABLE_STREAM = json.loads(os.environ["TEST_PROJECT_SETTINGS"])

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
