"""What a failed request to S2 means: an error of ours, and whether sending it again is safe and makes sense.

Three kinds of failure must never be confused. A *final* one would be the same again. A *passing* one was surely not
applied and may be sent again. Of an *unknown* one nobody knows whether it was applied: a read is simply repeated, an
append is not, unless the caller has a ``match_seq_num`` to make that safe.

Faults are values, turned into raised errors only outside of any ``except``: the frames of the HTTP libraries, and some
of their errors, hold the request's headers, and a crash reporter that prints a chain of errors with their local
variables would print the access token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from ...exceptions import (
    AppendConditionError,
    BackendUnavailableError,
    FencingTokenMismatchError,
    InvalidBackendError,
    InvalidRecordError,
    ReadUnwrittenError,
    ResumableStreamError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from .config import S2Config, setting_hint


class Kind(Enum):
    """What is known about a request that failed."""

    FINAL = "final"
    """Not applied, and would fail again."""
    PASSING = "passing"
    """Not applied, but may succeed later."""
    UNKNOWN = "unknown"
    """May have been applied."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed request."""

    kind: Kind
    error: ResumableStreamError
    """What the caller gets if repeating does not help; of an unknown outcome, what a reader gets."""
    retry_after: float | None = None
    """Seconds that S2 asks to wait before the next try."""
    casts_doubt: bool = False
    """Whether the log itself may be failing, and with it what still looks sound."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """A response of S2, read to its end."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    """Not in the repr, like the headers: a server might repeat what it was sent."""
    attempt: int = 1
    """How many times the request had been sent when this answer came."""

    def json_object(self) -> dict[str, Any]:
        """Decode the body; empty if it is not a JSON object."""
        try:
            data = json.loads(self.content)
        except ValueError:
            return {}
        return data if isinstance(data, dict) else {}


_NOT_APPLIED = frozenset({"hot_server", "rate_limited", "server_draining", "transaction_conflict"})
"""Codes by which S2 promises that nothing was applied and that trying again makes sense."""
_OUTCOME_UNKNOWN = frozenset({408, 499, 500, 502, 503, 504})
_INVALID = frozenset({400, 413, 422})


SHORTEST_SECRET = 8
"""A shorter access token is a placeholder for s2-lite, and may be part of any word."""


class Judge:
    """Turns failures into faults whose messages name the setting and the fix, and never the access token."""

    def __init__(self, config: S2Config, endpoint_option: str) -> None:
        self._config = config
        self._endpoint_option = endpoint_option
        self._endpoint = getattr(config, endpoint_option)

    def answer(self, answer: ErrorAnswer, *, stream: str = "", reading: bool = False) -> Fault:
        """Judge an answer that is not a success.

        Args:
            answer: The answer.
            stream: The stream that the request was about, if any.
            reading: Whether a stream that is being deleted already counts as gone.
        """
        data = answer.json_object()
        code = str(data.get("code", ""))
        fact = _fact(answer.status, data)
        if fact is not None:
            return Fault(Kind.FINAL, fact)
        if code == "stream_not_found" or (code == "stream_deletion_pending" and reading):
            return Fault(Kind.FINAL, StreamNotFoundError(stream))
        detail = f"{answer.status} {code}: {data.get('message', '')}" if code else f"{answer.status}, no error of S2's"
        return self._setting_at_fault(answer.status, code, self._clean(detail)) or self._refusal(
            answer, code, self._clean(detail)
        )

    def unreachable(self, detail: str) -> Fault:
        """Judge a request that was not sent, because no connection came about."""
        return self._unavailable(
            Kind.PASSING,
            f"S2 cannot be reached at {self._endpoint} ({self._clean(detail)}). Check that it runs, and "
            f"{setting_hint(self._endpoint_option)}.",
        )

    def unanswered(self, detail: str) -> Fault:
        """Judge a request that was sent, or partly, and not answered."""
        return self._unavailable(Kind.UNKNOWN, f"S2 at {self._endpoint} did not answer ({self._clean(detail)}).")

    def malformed(self, detail: str) -> Fault:
        """Judge a success that makes no sense."""
        return self._unavailable(
            Kind.UNKNOWN,
            f"{self._endpoint} answered as S2 never does ({self._clean(detail)}). If this lasts, check "
            f"{setting_hint(self._endpoint_option)}.",
        )

    def ended(self, detail: str) -> Fault:
        """Judge the end of a follow; the next try tells what is behind it."""
        return self._unavailable(Kind.PASSING, f"S2 ended the read ({self._clean(detail)}).")

    def _setting_at_fault(self, status: int, code: str, detail: str) -> Fault | None:
        basin = repr(self._config.basin)
        if code in ("authn", "access_token_not_found") or status == 401:
            return self._setting(f"S2 does not accept the access token ({detail}).", "access_token")
        if code == "permission_denied":
            return self._setting(
                f"the access token does not permit this ({detail}). It needs append, read, check-tail, fence, trim, "
                f"list-streams and delete-stream on basin {basin}.",
                "access_token",
            )
        if code in ("basin_not_found", "basin_deletion_pending"):
            return self._setting(
                f"basin {basin} does not exist ({detail}). Make it with 'manage.py resumable_stream setup'.", "basin"
            )
        if not code and status < 500 and status not in (408, 429, 499):
            problem = f"the server is not S2, or something before it refuses ({detail})."
            return self._setting(problem, self._endpoint_option)
        return None

    def _refusal(self, answer: ErrorAnswer, code: str, detail: str) -> Fault:
        if answer.status == 429 or code in _NOT_APPLIED or code == "stream_deletion_pending":
            return self._unavailable(Kind.PASSING, f"S2 refuses for now ({detail}).", retry_after(answer.headers))
        if answer.status in _OUTCOME_UNKNOWN:
            fault = self._unavailable(Kind.UNKNOWN, f"S2 failed ({detail}).", retry_after(answer.headers))
            return replace(fault, casts_doubt=True)
        if answer.status in _INVALID:
            return Fault(Kind.FINAL, InvalidRecordError(self._say(f"S2 takes this for invalid ({detail}).")))
        return self._unavailable(Kind.FINAL, f"S2 refuses ({detail}).")

    def _setting(self, problem: str, option: str) -> Fault:
        return Fault(Kind.FINAL, InvalidBackendError(self._say(f"{problem} Check {setting_hint(option)}.")))

    def _unavailable(self, kind: Kind, message: str, retry_after: float | None = None) -> Fault:
        return Fault(kind, BackendUnavailableError(self._say(message)), retry_after)

    def _say(self, message: str) -> str:
        return f"Backend {self._config.alias!r}: {message}"

    def _clean(self, text: str) -> str:
        """Make others' words fit for a message: one line, not long, without the token should they repeat it."""
        words = " ".join(text.split())
        if len(self._config.access_token) >= SHORTEST_SECRET:
            words = words.replace(self._config.access_token, "***")
        return words[:300]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait: S2's ``retry-after-ms``, or HTTP's ``Retry-After``."""
    milliseconds, value = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    if milliseconds.isdecimal():
        return int(milliseconds) / 1000
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()) if value else None
    except (ValueError, TypeError):  # Not a date, or one without its zone.
        return None


def _fact(status: int, data: dict[str, Any]) -> AppendConditionError | ReadUnwrittenError | None:
    """Return the truth about the stream that a refusal carries, if it carries one."""
    tail = data.get("tail")
    if status == 416 and isinstance(tail, dict) and isinstance(tail.get("seq_num"), int):
        return ReadUnwrittenError(tail["seq_num"])
    if status == 412 and isinstance(data.get("fencing_token_mismatch"), str):
        return FencingTokenMismatchError(data["fencing_token_mismatch"])
    if status == 412 and isinstance(data.get("seq_num_mismatch"), int):
        return SeqNumMismatchError(data["seq_num_mismatch"])
    return None
