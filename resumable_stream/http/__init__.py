"""HTTP without chats: checks of requests, responses, event streams, long polls.

May import ``generations``, ``readers`` and what is below them; nothing of ``chat``.
"""
