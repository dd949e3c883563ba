"""Every error this app raises on purpose.

::

    ResumableStreamError
    ├── InvalidBackendError          also ImproperlyConfigured: wrong or missing configuration
    ├── BackupError                  a backup cannot be made or restored; nothing was changed
    ├── InvalidRecordError           also ValueError: a record or batch that no log would take
    ├── StreamNotFoundError          .stream_name
    ├── AppendConditionError
    │   ├── FencingTokenMismatchError   .actual    the token the stream has
    │   └── SeqNumMismatchError         .expected  the seq_num the next record will get
    ├── AppendOutcomeUnknownError    the append may or may not be in the log
    ├── ReadUnwrittenError           .tail             asked beyond the tail
    ├── RecordsTrimmedError          .first_seq_num    asked before the trim point
    │   └── RecordsMissingError      .seq_num          the log has a hole there
    ├── BackendUnavailableError      transient; nothing was applied
    ├── AccessDeniedError            .headers, .response; raised by an app's authorize
    │   └── NotAuthenticatedError
    ├── GenerationError
    │   ├── EmptyAnswerError         given to on_error: nothing of what was yielded is carried
    │   ├── GenerationNotFoundError
    │   ├── GenerationActiveError    .generation_id  another generation runs
    │   └── GenerationLostError      .token          another writer owns the stream now
    ├── IncompleteStreamError        .reason, .text  a stream ended before its source came to its end
    ├── InvalidRequestError          a client's mistake; the message is for the client
    │   ├── CursorLostError          the cursor leads nowhere (any more)
    │   ├── HTTPVersionError         a stream was asked for over HTTP/1.0
    │   ├── RequestTooLargeError
    │   └── UnsupportedMediaTypeError
    ├── LimitExceededError           .retry_after
    ├── ServerBusyError              .retry_after
    └── ShuttingDownError            .retry_after

``status_code`` and ``close_code`` say what an HTTP response and a websocket close tell the client, so that every door
translates errors alike.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase

    from .types import EndReason


class ResumableStreamError(Exception):
    """Base of all errors of this app."""

    status_code: ClassVar[int] = 500
    """HTTP status a view answers with."""
    close_code: ClassVar[int] = 1011
    """Websocket close code (RFC 6455, section 7.4) a consumer closes with."""


class InvalidBackendError(ResumableStreamError, ImproperlyConfigured):
    """The backend's configuration is wrong; the message names the setting and the fix."""


class BackupError(ResumableStreamError):
    """A backup of the embedded log cannot be made or restored; nothing was changed. The message says why."""


class InvalidRecordError(ResumableStreamError, ValueError):
    """The records break the log's rules (size, count, characters, command form); nothing was applied."""

    status_code = 400


class StreamNotFoundError(ResumableStreamError):
    """The stream does not exist, or was deleted while it was being read."""

    status_code = 404

    def __init__(self, stream_name: str) -> None:
        super().__init__(f"Stream {stream_name!r} does not exist.")
        self.stream_name = stream_name


class AppendConditionError(ResumableStreamError):
    """A condition of the append did not hold; nothing was applied."""

    status_code = 409


class FencingTokenMismatchError(AppendConditionError):
    """The stream has another fencing token than the append named."""

    def __init__(self, actual: str) -> None:
        super().__init__(f"The stream's fencing token is {actual!r}.")
        self.actual = actual
        """The token the stream has; ``""`` if it was never fenced."""


class SeqNumMismatchError(AppendConditionError):
    """The stream's tail is not where the append's ``match_seq_num`` said."""

    def __init__(self, expected: int) -> None:
        super().__init__(f"The stream's next seq_num is {expected}.")
        self.expected = expected
        """The ``seq_num`` the next record will get."""


class AppendOutcomeUnknownError(ResumableStreamError):
    """The append may or may not have been applied.

    Never send it again without its ``match_seq_num``: repeat the same records under the same condition, then read the
    range it would have taken.
    """

    status_code = 503


class ReadUnwrittenError(ResumableStreamError):
    """The read asked for a position beyond the tail."""

    status_code = 416

    def __init__(self, tail: int) -> None:
        super().__init__(f"The stream ends at seq_num {tail}.")
        self.tail = tail
        """The ``seq_num`` the next record will get."""


class RecordsTrimmedError(ResumableStreamError):
    """Records that the read asked for are gone (trimmed, or past their retention)."""

    status_code = 410

    def __init__(self, first_seq_num: int) -> None:
        super().__init__(f"The stream's first kept seq_num is {first_seq_num}.")
        self.first_seq_num = first_seq_num
        """The first position that can still be read; equals the tail if nothing is kept."""


class RecordsMissingError(RecordsTrimmedError):
    """Records are missing between others: somebody has deleted them from the log, or restored a damaged one.

    Reading on would show a chat with a hole in it as a whole one; so it is told instead.
    """

    def __init__(self, seq_num: int, first_seq_num: int) -> None:
        super().__init__(first_seq_num)
        self.seq_num = seq_num
        """The first position whose record is missing."""
        self.args = (f"The stream's records from seq_num {seq_num} to {first_seq_num - 1} are missing from the log.",)


class BackendUnavailableError(ResumableStreamError):
    """The log cannot be reached or refuses for now; nothing was applied. Trying again later may work."""

    status_code = 503
    close_code = 1013


class AccessDeniedError(ResumableStreamError):
    """The client has no right to what it asks for; an app's ``authorize`` may raise it.

    Args:
        text: What the client is told.
        status: 404 hides that there is such a chat; 403 does not.
    """

    status_code = 404
    close_code = 4403

    def __init__(self, text: str = "", *, status: int | None = None) -> None:
        self.status_code = status if status is not None else type(self).status_code  # type: ignore[misc]
        default = "There is no such chat." if self.status_code == HTTPStatus.NOT_FOUND else "You may not do that here."
        super().__init__(text or default)
        self.headers: dict[str, str] = {}
        """Of the answer over HTTP."""
        self.response: HttpResponseBase | None = None
        """The answer over HTTP, where the app has made it."""


class NotAuthenticatedError(AccessDeniedError):
    """The client has not said who it is, or its token has expired; an app's ``authorize`` may raise it.

    Args:
        text: What the client is told.
        challenge: The ``WWW-Authenticate`` header.
    """

    status_code = 401
    close_code = 4401

    def __init__(self, text: str = "You are not signed in.", *, challenge: str = "Bearer") -> None:
        super().__init__(text)
        self.headers["WWW-Authenticate"] = challenge


class GenerationError(ResumableStreamError):
    """Base of errors about one generation."""

    status_code = 409


class GenerationNotFoundError(GenerationError):
    """The stream holds no such generation; the message is for the client."""

    status_code = 404


class GenerationActiveError(GenerationError):
    """The stream is owned by a generation that is still running."""

    def __init__(self, generation_id: str | None, *, silent_seconds: int = 0, retry_after: int | None = None) -> None:
        text = "An answer is already being written in this chat. Wait for it to end, or stop it first."
        if retry_after is not None:
            text = (
                "An answer is being written in this chat, or was broken off: nothing has come for "
                f"{silent_seconds} s. Try again in {retry_after} s, or stop it first."
            )
        super().__init__(text)
        self.generation_id = generation_id
        """Its id; ``None`` if the owner is another program (a Node service) that tells none."""
        self.retry_after = retry_after
        """Seconds after which a start takes the chat over if its owner stays silent; ``None`` if it is not silent."""


class GenerationLostError(GenerationError):
    """The writer no longer owns its stream: it was stopped or taken over from elsewhere."""

    def __init__(self, token: str) -> None:
        super().__init__(f"The stream belongs to {token!r} now.")
        self.token = token
        """The token the stream has now."""


class GenerationLimitError(GenerationError):
    """A generation took longer, or grew larger, than it may; the message is for the people who read the chat.

    Args:
        text: The message.
        setting: The setting that bounds it, for the developer who reads the traceback.
    """

    def __init__(self, text: str, *, setting: str) -> None:
        super().__init__(text)
        self.add_note(f"RESUMABLE_STREAM[{setting!r}] bounds it.")


class EmptyAnswerError(GenerationError):
    """A producer has yielded items, and its answer holds nothing of them; the message is for people.

    Args:
        classes: Names of the items' classes, for the developer who reads the traceback.
    """

    def __init__(self, classes: str) -> None:
        super().__init__("The model has given no answer. Please try again.")
        self.add_note(
            f"The view's format carries nothing of what was yielded, which was of the classes {classes}. "
            "docs/producers.md lists what is carried, and where it goes."
        )


class IncompleteStreamError(ResumableStreamError):
    """The stream has ended, but its source had not come to its end: what was read of it is not the whole."""

    def __init__(self, reason: EndReason, text: str = "") -> None:
        super().__init__(f"The stream is not whole (end reason: {reason.value}). {text}".strip())
        self.reason = reason
        """``STOPPED``, ``FAILED`` or ``INTERRUPTED``."""
        self.text = text
        """What people may be told of a failure or an interruption."""


class InvalidRequestError(ResumableStreamError):
    """The client's request cannot be understood; the message tells the client what to do."""

    status_code = 400
    close_code = 1008


class CursorLostError(InvalidRequestError):
    """What the client's cursor stands in is gone, or was never there; to read on from there is impossible."""

    status_code = 410

    def __init__(self) -> None:
        super().__init__("This place in the chat is gone. Load the chat again.")


class RequestTooLargeError(InvalidRequestError):
    """The request's body is larger than the server takes."""

    status_code = 413
    close_code = 1009


class UnsupportedMediaTypeError(InvalidRequestError):
    """The request's body is not JSON."""

    status_code = 415


class HTTPVersionError(InvalidRequestError):
    """A stream was asked for over HTTP/1.0, where a broken connection looks like the end of an answer."""

    status_code = 505

    def __init__(self) -> None:
        super().__init__(
            "Answers cannot be streamed over HTTP/1.0, where a connection that breaks looks like the end of an answer. "
            "Have the proxy speak HTTP/1.1 to the server (nginx: proxy_http_version 1.1;)."
        )


class LimitExceededError(ResumableStreamError):
    """The client has as many generations, readers or sockets as it may have at once.

    A view's ``limit`` hook raises it too, with a text for the client and the seconds after which to try again.
    """

    status_code = 429
    close_code = 1013

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which another try makes sense."""


class ServerBusyError(ResumableStreamError):
    """This process has as many generations, readers or sockets as it takes."""

    status_code = 503
    close_code = 1013

    def __init__(self, *, retry_after: int = 5) -> None:
        super().__init__("The server is busy. Try again in a moment.")
        self.retry_after = retry_after
        """Seconds after which another try makes sense."""


class ShuttingDownError(ResumableStreamError):
    """This process takes no new work: it is about to end."""

    status_code = 503
    close_code = 1012

    def __init__(self, *, retry_after: int = 1) -> None:
        super().__init__("The server is restarting. Try again in a moment.")
        self.retry_after = retry_after
        """Seconds after which another process will be there."""
