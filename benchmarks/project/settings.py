"""Settings of the project under load: the middleware that most projects have, the log of this run, no limits."""

import json
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

BACKENDS = {
    "SQLiteBackend": "resumable_stream.backends.sqlite.SQLiteBackend",
    "S2Backend": "resumable_stream.backends.s2.S2Backend",
    "CountingSQLiteBackend": "benchmarks.project.counting.CountingSQLiteBackend",
    "CountingS2Backend": "benchmarks.project.counting.CountingS2Backend",
}

RESUMABLE_STREAM = {
    "BACKENDS": {
        "default": {
            "BACKEND": BACKENDS[os.environ["BENCHMARK_BACKEND"]],
            "OPTIONS": json.loads(os.environ["BENCHMARK_OPTIONS"]),
        }
    },
    "MAX_GENERATIONS": None,
    "MAX_READERS": None,
    "MAX_SOCKETS": None,
    "MAX_GENERATIONS_PER_OWNER": None,
    "MAX_READERS_PER_OWNER": None,
    "MAX_SOCKETS_PER_OWNER": None,
    **json.loads(os.environ["BENCHMARK_SETTINGS"]),
}
