"""Signals, for projects that count what is refused."""

from __future__ import annotations

from django.dispatch import Signal

refused = Signal()
"""Sent when a limit refuses a client: the view's ``limit`` hook, or a setting (``MAX_READERS_PER_OWNER``, …).

``sender`` is the view's class. Receivers get ``request`` (of a websocket: its handshake), ``action`` (``"start"``,
``"read"``, ``"stop"`` or ``"connect"``) and ``error``: its ``status_code`` is 429 where the client has too much, 503
where the process does. They may be coroutines or plain functions; what they raise is logged, and changes nothing.
"""
