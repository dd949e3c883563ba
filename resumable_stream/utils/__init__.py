"""Tools that know nothing of chats, streams or logs: threads, calls into the app's code, an event parser.

Imports nothing of the package but ``exceptions`` and ``conf``.
"""
