"""HTTP without chats: requests checked, responses, event streams, long polls.

Imports readers and generations, and nothing of ``chat``.
"""
