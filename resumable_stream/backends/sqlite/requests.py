"""What the writer thread is asked to do, one object each; it takes its part in a transaction and carries the answer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from ...exceptions import StreamNotFoundError
from ...records import AppendAck, Record, SequencedRecord
from ..followers import Committed, Followers, characters_of
from ..state import StreamState
from .transaction import Transaction


class Request(ABC):
    """Something to be done within the next commit. Made on the event loop that waits for the answer."""

    characters = 0
    """Roughly what the request adds to its transaction."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.answer: object = None
        self.error: Exception | None = None
        """Why it was refused or failed."""

    @abstractmethod
    def apply(self, transaction: Transaction) -> None:
        """Check the conditions; take effect, or set :attr:`error`."""

    @abstractmethod
    def publish(self, followers: Followers) -> Committed | None:
        """Tell followers of what is durable now; return records to be delivered."""

    def settle(self) -> None:
        """Give the answer to who waits for it; called on its event loop."""
        if self.future.done():  # Cancelled meanwhile.
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answer)


class AppendRequest(Request):
    """Append records under conditions."""

    def __init__(
        self, stream: str, records: Sequence[Record], fencing_token: str | None, match_seq_num: int | None
    ) -> None:
        super().__init__(stream)
        self._records = records
        self._fencing_token = fencing_token
        self._match_seq_num = match_seq_num
        self.characters = characters_of(records)

    def apply(self, transaction: Transaction) -> None:
        """See :meth:`Request.apply`."""
        found = transaction.find(self.stream)
        self.error = (found or StreamState()).refusal(self._fencing_token, self._match_seq_num)
        if self.error is None:
            stream = found or transaction.create(self.stream)
            self._start = transaction.append(stream, self._records)
            self._stream_id, self._timestamp = stream.id, stream.timestamp
            self.answer = AppendAck(start=self._start, end=stream.tail, tail=stream.tail)

    def publish(self, followers: Followers) -> Committed | None:
        """See :meth:`Request.publish`."""
        if self.stream not in followers:
            return None
        records = tuple(
            SequencedRecord(seq_num, self._timestamp, body, headers)
            for seq_num, (body, headers) in enumerate(self._records, self._start)
        )
        return Committed(self.stream, self._stream_id, records, self.characters)


class Delete(Request):
    """Drop a stream."""

    def apply(self, transaction: Transaction) -> None:
        """See :meth:`Request.apply`."""
        stream = transaction.find(self.stream)
        if stream is None:
            self.error = StreamNotFoundError(self.stream)
        else:
            transaction.delete(self.stream, stream)

    def publish(self, followers: Followers) -> Committed | None:
        """See :meth:`Request.publish`."""
        followers.look([self.stream])
        return None
