"""The root URLconf of the tests; a test module that needs routes brings its own with ``override_settings``."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
