"""The management command ``resumable_stream``.

May import everything but ``views``, ``websockets`` and ``consumers``.
"""
