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

from ..utils.request_user import know_user


class AsyncViewMixin:
    """Goes before :class:`django.views.View`.

    ``ATOMIC_REQUESTS`` does not apply: no transaction can span an asynchronous view. Mixins whose ``dispatch`` is
    synchronous (``LoginRequiredMixin``, ``PermissionRequiredMixin``, ``UserPassesTestMixin``, …) may stand before it.
    """

    @classonlymethod
    def as_view(cls: Any, **initkwargs: Any) -> Callable[..., HttpResponseBase]:  # noqa: N805 - a class method
        """Make the view function, as :meth:`django.views.View.as_view` does."""
        made: Callable[..., Any] = super().as_view(**initkwargs)  # type: ignore[misc]
        is_async = inspect.iscoroutinefunction(cls.dispatch)

        @wraps(made)
        async def view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            return await enter(partial(made, request, *args, **kwargs), request, is_async=is_async)

        for alias in connections:
            transaction.non_atomic_requests(using=alias)(view)
        # Django's own types know asynchronous views no better.
        return cast("Callable[..., HttpResponseBase]", view)


async def enter(call: Callable[[], Any], request: HttpRequest, *, is_async: bool) -> Any:
    """Call a view, or its ``dispatch``, and return its response.

    One that is not asynchronous is called in a thread, as Django calls synchronous views: it is a mixin's, which may
    ask the database for permissions before it hands over to ours.
    """
    await know_user(request)
    response = call() if is_async else await sync_to_async(lambda: call())()
    return await response if inspect.isawaitable(response) else response
