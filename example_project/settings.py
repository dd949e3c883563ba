"""Settings of the example chat.

There is no database and nothing to migrate: visitors own their chats through a signed cookie, and the chats themselves
are streams on the log. The environment can change what the names at the end of this file say.
"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# Known to everyone who can read this file. Whoever knows it can forge the cookie that says which chats are whose.
SECRET_KEY = os.environ.get("SECRET_KEY", "django-insecure-example-only-set-your-own-in-the-environment")
DEBUG = os.environ.get("DEBUG", "1") != "0"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    # First, so that runserver is daphne's: streaming needs an ASGI server.
    "daphne",
    "django.contrib.staticfiles",
    "resumable_stream",
    "example_project",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "example_project.urls"
ASGI_APPLICATION = "example_project.asgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

DATABASES: dict[str, dict[str, str]] = {}
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_AGE = 365 * 24 * 60 * 60

STATIC_URL = "static/"
TIME_ZONE = "UTC"
USE_TZ = True

# Seconds between two words of the built-in demo model: about the pace at which people read along.
DEMO_WORD_SECONDS = float(os.environ.get("DEMO_WORD_SECONDS", "0.045"))
# What the demo model reads.
DEMO_PAGES = [BASE_DIR / "README.md", *sorted((BASE_DIR / "docs").rglob("*.md"))]

# With a base URL or a key, answers come from a server that speaks OpenAI's chat completions API instead.
OPENAI_BASE_URL = os.environ.get("OPENAI_BASE_URL", "")
OPENAI_API_KEY = os.environ.get("OPENAI_API_KEY", "")
OPENAI_MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
