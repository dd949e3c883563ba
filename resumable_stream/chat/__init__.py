"""Chats on streams: start, follow, stop and read back an answer; owners, names and hooks.

May import ``http``, ``generations``, ``readers`` and what is below them.
"""
