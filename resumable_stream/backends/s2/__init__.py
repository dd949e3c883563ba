"""The log on S2 (s2.dev, or the open-source server s2-lite), over its REST API."""

from .backend import S2Backend

__all__ = ["S2Backend"]
