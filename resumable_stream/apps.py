"""App config: registers the system checks, starts nothing."""

from __future__ import annotations

from django.apps import AppConfig


class ResumableStreamConfig(AppConfig):
    """``"resumable_stream"`` in ``INSTALLED_APPS``."""

    name = "resumable_stream"
    verbose_name = "Resumable stream"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401, PLC0415 - importing it registers them; it needs loaded apps
