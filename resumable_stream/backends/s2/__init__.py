"""The log on S2 (s2.dev, or the open-source server s2-lite), over its REST API.

May import ``backends.base`` and what ``backends`` may; nothing of the other backends.
"""

from .backend import S2Backend

__all__ = ["S2Backend"]
