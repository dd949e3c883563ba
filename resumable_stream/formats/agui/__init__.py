"""The AG-UI protocol, for ``@ag-ui/client`` and for what is built on it."""

from .format import AGUIFormat

__all__ = ["AGUIFormat"]
