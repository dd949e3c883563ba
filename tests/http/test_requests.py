from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.test import AsyncRequestFactory
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.exceptions import InvalidRequestError, RequestTooLargeError, UnsupportedMediaTypeError
from resumable_stream.http import requests as parsing
from resumable_stream.http.requests import parse_cursor, parse_flag, parse_idempotency_key, parse_wait
from resumable_stream.validation import parse_chat_id, parse_generation_id, parse_message_id, parse_run_id

factory = AsyncRequestFactory()


def parsed_body(request: HttpRequest, *, required: bool = True) -> dict[str, Any]:
    return async_to_sync(parsing.parse_body)(request, required=required)


def post(content: bytes, content_type: str = "application/json", **headers: Any) -> ASGIRequest:
    return factory.post("/", content, content_type=content_type, headers=headers)


def get(query: str = "", **headers: Any) -> ASGIRequest:
    return factory.get(f"/?{query}", headers=headers)


def nested(levels: int, *, kind: str) -> bytes:
    left, right = ('{"a":', "}") if kind == "objects" else ("[", "]")
    return ('{"top":' + left * (levels - 1) + "1" + right * (levels - 1) + "}").encode()


def test_a_body_is_a_json_object() -> None:
    assert parsed_body(post('{"a": "ä"}'.encode())) == {"a": "ä"}
    assert parsed_body(post('{"a": "ä"}'.encode("utf-16"))) == {"a": "ä"}


def test_no_body_is_an_empty_object_where_none_is_needed() -> None:
    assert parsed_body(post(b"", content_type=""), required=False) == {}
    with pytest.raises(UnsupportedMediaTypeError):
        parsed_body(post(b"", content_type=""))


@pytest.mark.parametrize("kind", ["objects", "lists"])
def test_bodies_may_be_nested_so_deep_and_no_deeper(kind: str) -> None:
    assert parsed_body(post(nested(512, kind=kind)))
    with pytest.raises(InvalidRequestError, match="512 levels"):
        parsed_body(post(nested(513, kind=kind)))


def test_the_depth_of_bodies_is_a_setting(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_JSON_DEPTH": 40}
    assert parsed_body(post(nested(40, kind="lists")))
    with pytest.raises(InvalidRequestError, match="40 levels"):
        parsed_body(post(nested(41, kind="lists")))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(InvalidRequestError):
        assert isinstance(parsed_body(post(content)), dict)


def test_a_body_has_a_limit_of_our_own(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_BODY_BYTES": 2000}
    request = post(b'{"a": "more than Django takes"}')
    assert parsed_body(request) == {"a": "more than Django takes"}
    assert request.body == b'{"a": "more than Django takes"}'
    with pytest.raises(RequestTooLargeError):
        parsed_body(post(b'{"a": "%s"}' % (b"x" * 2000)))


def test_what_was_sent_counts_and_not_what_its_length_was_said_to_be(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_BODY_BYTES": 2000}
    request = post(b'{"a": "%s"}' % (b"x" * 2000))
    request.META["CONTENT_LENGTH"] = "5"
    with pytest.raises(RequestTooLargeError):
        parsed_body(request)


def test_a_body_that_a_middleware_has_read_has_the_same_limit(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_BODY_BYTES": 2000}
    request = post(b'{"a": "%s"}' % (b"x" * 2000))
    assert request.body
    with pytest.raises(RequestTooLargeError):
        parsed_body(request)


def test_a_body_that_was_read_as_a_form_cannot_be_read_again() -> None:
    request = factory.generic(
        "POST",
        "/",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
    )
    assert request.POST["x"] == "1"

    with pytest.raises(InvalidRequestError, match="form"):
        parsed_body(request)


@given(st.text() | st.integers() | st.none() | st.lists(st.text()))
def test_a_chat_id_is_safe_in_a_path_and_in_a_stream_name(value: Any) -> None:
    try:
        found = parse_chat_id(value)
    except InvalidRequestError:
        return
    assert found == value
    assert found.isascii()
    assert 1 <= len(found) <= 128
    assert not set(found) & set("/\\?#%& \n\0")


@pytest.mark.parametrize("value", ["Q2hhdDo0Mg==", "auth0|1", "a+b", "ann@example.org"])
def test_ids_of_other_systems_name_chats_and_runs(value: str) -> None:
    assert parse_chat_id(value) == value
    assert parse_run_id(value) == value


@pytest.mark.parametrize("value", ["a\n", "a\r", "\na"])
def test_an_id_with_a_line_end_is_none(value: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_chat_id(value)
    with pytest.raises(InvalidRequestError):
        parse_generation_id(value)
    with pytest.raises(InvalidRequestError):
        parse_message_id(value)


def test_a_generation_may_be_left_unnamed() -> None:
    assert parse_generation_id(None) is None
    assert parse_generation_id("A_-9") == "A_-9"


def test_a_message_id_is_whatever_prints() -> None:
    assert parse_message_id(None) is None
    assert parse_message_id("msg/1 é:" + "x" * 200) == "msg/1 é:" + "x" * 200
    with pytest.raises(InvalidRequestError, match="256"):
        parse_message_id("x" * 257)


@given(st.text(st.characters(codec="latin-1")))
def test_a_header_is_a_cursor_or_is_passed_over(value: str) -> None:
    request = get()
    request.META["HTTP_LAST_EVENT_ID"] = value
    found = parse_cursor(request)

    assert found is None or (str(found) == value.lstrip("0") or found == 0)


def test_the_header_wins_then_from_then_offset() -> None:
    assert parse_cursor(get("from=2&offset=3", **{"Last-Event-ID": "1"})) == 1
    assert parse_cursor(get("from=2&offset=3")) == 2
    assert parse_cursor(get("offset=3")) == 3
    assert parse_cursor(get()) is None
    assert parse_cursor(get("from=9223372036854775807")) == 2**63 - 1


def test_flags_are_on_or_off() -> None:
    assert [parse_flag(get(f"live={value}"), "live") for value in ("1", "true", "True", "0", "false", "", "yes")] == [
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert not parse_flag(get(), "live")


def test_an_idempotency_key_is_any_short_text() -> None:
    assert parse_idempotency_key(get()) == ""
    assert parse_idempotency_key(get(**{"Idempotency-Key": "k" * 512})) == "k" * 512
    with pytest.raises(InvalidRequestError):
        parse_idempotency_key(get(**{"Idempotency-Key": "k" * 513}))


@pytest.mark.parametrize(("query", "seconds"), [("", None), ("wait=0", 0), ("wait=2.5", 2.5), ("wait=86400", 60)])
def test_a_wait_is_seconds_up_to_a_minute(query: str, seconds: float | None) -> None:
    assert parse_wait(get(query)) == seconds


@pytest.mark.parametrize("value", ["", "-1", "nan", "inf", "1e3", "1.", "٣", "1" * 400])
def test_a_wait_that_is_no_number_of_seconds_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequestError, match="'wait' must be a number of seconds, up to 60"):
        parse_wait(get(f"wait={value}"))
