"""Log lines about records and formats that are not as they should be, each written once.

What stands on a log stands there for ever: every reader meets it again, and one line is enough.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

REMEMBERED = 1000
"""Lines that are known to be written already; of older ones, one more may come."""

_written: OrderedDict[tuple[str, ...], None] = OrderedDict()


def warn_once(logger: logging.Logger, message: str, *values: object, error: BaseException | None = None) -> None:
    """Log a warning, with the traceback of ``error`` if there is one, unless the same was logged already."""
    key = (logger.name, message, *map(str, values))
    # May be called from several threads: nothing here fails when another one comes in between.
    if key in _written:
        return
    _written[key] = None
    while len(_written) > REMEMBERED:
        _written.popitem(last=False)
    logger.warning(message, *values, exc_info=error)


def survive(call: Callable[[], T], default: T, logger: logging.Logger, message: str, *values: object) -> T:
    """Call a format's code on records that anybody may have written; where it raises, log it once and go on.

    Reading, stopping, ending and taking over must not depend on whether a format likes what it finds.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - it may raise anything, and the traceback is logged
        warn_once(logger, f"{message} error=%r", *values, error, error=error)
        return default


def forget() -> None:
    """Let everything be written once more; for tests."""
    _written.clear()
