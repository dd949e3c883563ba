"""Settings of the project that the integration tests serve; the tests choose the app's own."""

import json
import os

from tests.support.manual import code_blocks

SECRET_KEY = "only-for-tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True

INSTALLED_APPS = ["django.contrib.sessions", "resumable_stream"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
# As with APP_DIRS, and one template more: the manual's page for htmx, whose chats are elsewhere in this project.
(HTMX_PAGE,) = code_blocks("docs/clients/htmx.md", "html")
LOADERS = [
    ("django.template.loaders.locmem.Loader", {"chat.html": HTMX_PAGE.replace("/api/chat", "/api/html")}),
    "django.template.loaders.app_directories.Loader",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": LOADERS}}]
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
