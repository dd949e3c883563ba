"""A client for Python: follows an answer to its end, over as many connections as it takes.

::

    from resumable_stream.client import follow

    answer = follow("https://example.org/api/chat/c1/stream", headers={"Authorization": "Bearer ..."})
    async for event in answer:
        print(event.json())
    print(answer.end.reason)

For services, tests and notebooks. It needs httpx and httpx-sse (``pip install "django-resumable-stream[client]"``), and
nothing of Django: it imports neither that nor the server's side of this package.
"""

from .events import End, Event, Reason, end_of
from .followers import AsyncFollower, Follower, follow, follow_sync
from .state import FollowError, backoff

__all__ = [
    "AsyncFollower",
    "End",
    "Event",
    "FollowError",
    "Follower",
    "Reason",
    "backoff",
    "end_of",
    "follow",
    "follow_sync",
]
