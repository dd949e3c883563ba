"""What Django's settings and mixins for synchronous views must not break: every view of ours is asynchronous."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import classonlymethod

from .identity import know_user


class AsyncViewMixin:
    """Goes before :class:`django.views.View`.

    ``ATOMIC_REQUESTS`` does not apply: no transaction can span an asynchronous view. Mixins whose ``dispatch`` is
    synchronous (``LoginRequiredMixin``, ``PermissionRequiredMixin``, ``UserPassesTestMixin``, …) may stand before it.
    """

    @classonlymethod
    def as_view(cls: Any, **initkwargs: Any) -> Callable[..., HttpResponseBase]:  # noqa: N805 - a class method
        """Make the view function, as :meth:`django.views.View.as_view` does."""
        made: Callable[..., Any] = super().as_view(**initkwargs)  # type: ignore[misc]
        # A mixin's, in a thread like every synchronous view: it may ask the database for permissions.
        is_async = inspect.iscoroutinefunction(cls.dispatch)

        @wraps(made)
        async def view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            await know_user(request)
            call = partial(made, request, *args, **kwargs)
            response = call() if is_async else await sync_to_async(lambda: call())()
            return await response if inspect.isawaitable(response) else response

        for alias in connections:
            transaction.non_atomic_requests(using=alias)(view)
        # Django's own types know asynchronous views no better.
        return cast("Callable[..., HttpResponseBase]", view)
