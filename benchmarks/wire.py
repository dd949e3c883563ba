"""What the product, the bare app and the load client agree on: the frames, and the time that stands in them."""

from __future__ import annotations

import re
import time

STAMP_DIGITS = 20
_STAMP = re.compile(rb'data: "(\d{%d})' % STAMP_DIGITS)


def text(size: int) -> str:
    """Make a chunk's text of ``size`` characters that begins with the time on this machine's monotonic clock."""
    return f"{time.monotonic_ns():0{STAMP_DIGITS}d}".ljust(size, ".")


def frame(number: int, chunk: str) -> bytes:
    """Make the frame in which the product sends a text chunk."""
    return f'id: {number}\ndata: "{chunk}"\n\n'.encode()


def stamps(data: bytes) -> list[int]:
    """Find the times in received bytes, in nanoseconds."""
    return [int(found) for found in _STAMP.findall(data)]
