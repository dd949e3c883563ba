"""Alias -> backend, as ``django.core.cache.caches`` does it for caches.

::

    from resumable_stream.backends import backends

    await backends["default"].tail("chat/1/a")

A backend is a log of streams; ``base`` is its contract. May import ``records``, ``exceptions``, ``conf`` and ``utils``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ..conf import SETTING_NAME, settings
from ..exceptions import InvalidBackendError
from .base import BaseBackend
from .frames import strip_frames

__all__ = ["DEFAULT_ALIAS", "BackendHandler", "BaseBackend", "backends"]

logger = logging.getLogger(__name__)

DEFAULT_ALIAS = "default"


class BackendHandler(Mapping[str, BaseBackend]):
    """Makes each configured backend when it is first asked for, once per process.

    A change of the setting (``override_settings``) and a fork forget the backends made so far. Those who still hold
    one may go on using it; what it holds is given back when it is collected.
    """

    def __init__(self) -> None:
        self.reset()

    def __getitem__(self, alias: str) -> BaseBackend:
        """Return the backend of ``alias``.

        Raises:
            InvalidBackendError: There is no such alias, or what it says is wrong.
        """
        with self._lock:
            if alias not in self._backends:
                self._backends[alias] = self._made(alias)
            return self._backends[alias]

    def __iter__(self) -> Iterator[str]:
        return iter(settings.backends)

    def __len__(self) -> int:
        return len(settings.backends)

    def _made(self, alias: str) -> BaseBackend:
        try:
            return _create(alias)
        except Exception as error:
            # The frames of what has failed hold the options, and with them an access token.
            strip_frames(error)
            raise

    def reset(self) -> None:
        """Forget the backends made so far."""
        # The lock is new too: in a forked child, another thread of the parent may have held the old one.
        self._lock = Lock()
        self._backends: dict[str, BaseBackend] = {}

    async def close_all(self) -> None:
        """Close the backends made so far, the newest first; one that fails does not keep the others open."""
        for backend in reversed(list(self._backends.values())):
            try:
                await backend.close()
            except Exception:
                logger.exception("Backend could not be closed. backend=%s", backend.alias)


def _create(alias: str) -> BaseBackend:
    where = f"{SETTING_NAME}['BACKENDS']"
    if alias not in settings.backends:
        known = ", ".join(map(repr, settings.backends)) or "none"
        raise InvalidBackendError(f"{where} has no {alias!r}. Add it, or use one that is there: {known}.")
    where = f"{where}[{alias!r}]"
    config: Any = settings.backends[alias]
    if not isinstance(config, Mapping) or not isinstance(config.get("BACKEND"), str):
        raise InvalidBackendError(f"{where} must be a dictionary with the backend's dotted path under 'BACKEND'.")
    options = config.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        raise InvalidBackendError(f"{where}['OPTIONS'] must be a dictionary, not {options!r}.")
    return _backend_class(where, config["BACKEND"])(alias, dict(options))


def _backend_class(where: str, path: str) -> type[BaseBackend]:
    try:
        found = import_string(path)
    except ImportError as error:
        raise InvalidBackendError(
            f"{where}['BACKEND'] is {path!r}, which cannot be imported: {error}. Correct the dotted path, or install "
            "what it needs."
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseBackend)):
        raise InvalidBackendError(f"{where}['BACKEND'] is {path!r}, which is not a subclass of BaseBackend.")
    return found


backends = BackendHandler()


def _forget_on_change(*, setting: str, **_: Any) -> None:
    if setting == SETTING_NAME:
        backends.reset()


setting_changed.connect(_forget_on_change)
if hasattr(os, "register_at_fork"):  # Not on Windows, which does not fork.
    os.register_at_fork(after_in_child=backends.reset)
