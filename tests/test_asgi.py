from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncRequestFactory, RequestFactory

from resumable_stream.asgi import require_asgi


def test_a_request_by_asgi_is_served() -> None:
    require_asgi(AsyncRequestFactory().get("/"))


def test_a_request_by_wsgi_is_refused_with_what_to_do() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"needs an ASGI server.*uvicorn.*daphne"):
        require_asgi(RequestFactory().get("/"))
