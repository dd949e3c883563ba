"""The HTTP views of a chat: start, follow, stop and read back.

May import ``chat``, ``http`` and what is below them; nothing of ``websockets``.
"""

from .chat_view import ResumableChatView

__all__ = ["ResumableChatView"]
