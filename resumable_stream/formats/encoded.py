"""Server-Sent Events that a producer has encoded already. Only the type of an item says so, never its text."""

from __future__ import annotations

from ..utils.event_parser import EventParser
from .producers import ProducerError

_DONE = "[DONE]"


class Encoded(str):
    """Encoded Server-Sent Events as text, for ``generate`` to yield: their data becomes chunks.

    ``bytes`` are read in the same way. Every other ``str`` is a piece of the answer, whatever it looks like: a user or
    a model may have written it.
    """

    __slots__ = ()


class EncodedEvents:
    """Reads the event stream of one producer, whose items may end anywhere in it."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._has_read = False

    def feed(self, part: bytes) -> list[str]:
        """Return the data of the events that are complete with ``part``.

        Raises:
            TypeError: This is no event stream.
        """
        found = [event.data for event in self._parser.feed(part)]
        if self._parser.foreign_line is not None:
            raise TypeError(
                "Bytes and Encoded(...) are read as Server-Sent Events ('data: {...}' and an empty line), and this is "
                "none. Decode what is text, and yield it as str."
            )
        self._has_read = self._has_read or bool(found)
        return [data for data in found if data != _DONE]

    def end(self) -> list[str]:
        """Return the data of an event whose empty line is missing.

        Raises:
            ProducerError: The stream broke off inside an event.
            TypeError: This is no event stream.
        """
        if self._parser.is_between_events:
            return []
        try:
            return self.feed(b"\n\n")
        except TypeError as error:
            if self._has_read:
                raise broken_off() from error
            raise


def broken_off() -> ProducerError:
    """Make the error of an event stream that ends inside an event."""
    return ProducerError("The producer's event stream broke off inside an event.")
