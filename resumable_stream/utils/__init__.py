"""Tools that know nothing of chats, streams or logs: threads, calls into the app's code, a parser of event streams.

May import ``exceptions`` and ``conf``.
"""
