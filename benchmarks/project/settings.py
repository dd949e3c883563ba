"""Settings of the project under load: the middleware that most projects have, the embedded log, no limits."""

import os

SECRET_KEY = "only-for-benchmarks"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True

INSTALLED_APPS = ["django.contrib.sessions", "resumable_stream"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
ROOT_URLCONF = "benchmarks.project.urls"

RESUMABLE_STREAM = {
    "BACKENDS": {
        "default": {
            "BACKEND": "benchmarks.project.counting.CountingBackend"
            if os.environ.get("BENCHMARK_COUNTS")
            else "resumable_stream.backends.sqlite.SQLiteBackend",
            "OPTIONS": {"path": os.environ["BENCHMARK_LOG"]},
        }
    },
    "MAX_GENERATIONS_PER_OWNER": None,
    "MAX_READERS_PER_OWNER": None,
}
