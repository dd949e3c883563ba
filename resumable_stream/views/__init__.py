"""The HTTP views of a chat: start, follow, stop and read back."""

from .chat_view import ResumableChatView

__all__ = ["ResumableChatView"]
