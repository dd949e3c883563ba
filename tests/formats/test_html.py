"""Rendered fragments: what is stored, what is rendered from it, and what a page makes of them in any order of loss."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.exceptions import InvalidRequestError
from resumable_stream.formats import EndReason, GenerationFacts, StoredGeneration, get_format
from resumable_stream.formats.html import HTMLFormat
from resumable_stream.http.sse import frame_encoder
from resumable_stream.protocol.layout import Chunk

from .strategies import json_objects, texts

FORMAT = HTMLFormat()
ID = "AnswerId_0-0"
USER = {"id": "u1", "role": "user", "content": "Hello"}


def encoder(message_id: str = ID) -> Any:
    return FORMAT.encoder(GenerationFacts(generation_id="GenerationId", message_id=message_id))


def generated(*items: Any, ending: str = "finish") -> list[str]:
    making = encoder()
    chunks = making.start() + [chunk for item in items for chunk in making.encode(item)]
    return chunks + getattr(making, ending)(*(["It broke."] if ending in ("fail", "interrupt") else []))


def stored(chunks: list[str], **fields: Any) -> StoredGeneration:
    return StoredGeneration(generation_id="g1", message_id=ID, chunks=chunks, **fields)


def folded(chunks: list[str]) -> dict[str, Any]:
    message = FORMAT.fold_answer(stored(chunks))
    assert message is not None
    return message


class _Page(HTMLParser):
    """The texts of elements by id, after fragments were swapped in as htmx does."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self._path: list[str | None] = []

    def swap(self, fragment: str) -> None:
        if fragment:
            self.reset()
            self._path = []
            self.feed(fragment)
            self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if style := found.get("hx-swap-oob"):
            kind, _, target = style.partition(":#")
            if kind == "innerHTML":
                assert target == f"answer-{ID}"
                self.texts.clear()
            self._path.append(target)
        else:
            self._path.append(found.get("id") or (self._path[-1] if self._path else None))
        if "id" in found:
            self.texts.setdefault(str(found["id"]), "")

    def handle_endtag(self, tag: str) -> None:
        self._path.pop()

    def handle_data(self, data: str) -> None:
        where = self._path[-1]
        if where is not None:
            self.texts[where] = self.texts.get(where, "") + data


def shown(chunks: list[str]) -> list[str]:
    """The texts of the parts on a page that got these chunks."""
    page = _Page()
    for chunk in chunks:
        page.swap(FORMAT.data(chunk))
    return [text for name, text in page.texts.items() if name.removeprefix(f"answer-{ID}-").isdigit()]


ITEMS = ["Hel", "lo <b>", {"type": "note", "text": "n"}, "wor", "ld"]


class TestFragments:
    def test_pieces_of_text_are_added_to_the_last_part(self):
        chunks = generated(*ITEMS)
        assert [json.loads(chunk)["type"] for chunk in chunks] == [
            *("start", "part", "delta", "delta", "part", "part", "delta", "delta", "end")
        ]
        assert FORMAT.data(chunks[2]) == f'<div hx-swap-oob="beforeend:#answer-{ID}-0">Hel</div>'
        assert FORMAT.data(chunks[3]) == f'<div hx-swap-oob="beforeend:#answer-{ID}-0">lo &lt;b&gt;</div>'

    @given(st.lists(texts, min_size=1, max_size=5), st.sampled_from(["finish", "stop", "fail", "interrupt"]))
    def test_a_page_shows_the_same_at_every_point_after_the_end_and_after_a_reload(self, pieces: list[str], end: str):
        chunks = generated(*pieces, ending=end)
        live, whole, reloaded = shown(chunks[:-1]), shown(chunks), folded(chunks)
        assert live == whole == [part["text"] for part in reloaded["parts"]]
        assert reloaded["content"] == "".join(whole)
        assert "\r" not in reloaded["content"]
        assert "\0" not in reloaded["content"]

    @given(st.lists(texts, min_size=1, max_size=5))
    def test_a_text_is_the_same_however_it_comes_in_pieces(self, pieces: list[str]):
        assert folded(generated(*pieces))["content"] == folded(generated("".join(pieces)))["content"]

    @given(st.lists(st.one_of(texts, json_objects.map(lambda data: {"type": "x", "data": data})), max_size=4))
    def test_every_frame_is_valid_utf_8_and_carries_its_fragment(self, items: list[Any]):
        for chunk in generated(*items):
            frame = frame_encoder(FORMAT)(Chunk(7, chunk)).decode()
            head, *lines = frame.removesuffix("\n\n").split("\n")
            assert head == "id: 7"
            assert all(line.startswith("data: ") for line in lines)
            assert "\n".join(line.removeprefix("data: ") for line in lines) == FORMAT.data(chunk)

    @pytest.mark.parametrize("cut", range(len(generated(*ITEMS))))
    def test_who_lost_the_cursor_anywhere_and_begins_again_shows_the_right_page(self, cut: int):
        chunks = generated(*ITEMS)
        assert shown(chunks[:cut] + chunks) == shown(chunks)

    def test_what_a_model_says_never_becomes_markup(self):
        evil = "<script>alert(1)</script>\" ' &amp;"
        part = {"type": "text", "text": evil}
        thought = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"reasoning_content": evil}}]}
        for items in ([evil], [part], [thought]):
            for chunk in generated(*items, ending="fail"):
                assert "<script" not in FORMAT.data(chunk)
        assert "<script" not in FORMAT.render_turn([{**USER, "content": evil}], ID, f"/x?{evil}")

    def test_records_of_other_programs_render_to_nothing(self):
        for chunk in (
            *("no JSON", "[]", "1", '{"type":"delta"}', '{"type":"delta","id":"x"}', '{"type":"y","id":"x"}'),
            *('{"type":"start","id":"x\\"><b>"}', '{"type":"delta","id":"x","index":"<b>","delta":"x"}'),
        ):
            assert FORMAT.data(chunk) == ""
        assert FORMAT.fold_answer(stored(["no JSON"])) is None

    def test_the_last_fragment_says_how_it_ended(self):
        assert "aria-busy" in FORMAT.data(generated()[0])
        assert 'data-end="finished"' in FORMAT.data(generated("x")[-1])
        assert "Stopped." in FORMAT.data(generated("x", ending="stop")[-1])
        for ending in ("fail", "interrupt"):
            assert "It broke." in FORMAT.data(generated("x", ending=ending)[-1])

    def test_an_id_that_no_selector_could_name_is_not_used(self):
        assert json.loads(encoder('a"b').start()[0])["id"] == "GenerationId"


class TestEncoding:
    def test_a_stranger_ends_what_it_has_observed(self):
        making, stranger = encoder(), encoder("other")
        for chunk in [*making.start(), *making.encode("Hello"), "no JSON"]:
            stranger.observe(chunk)
        end = json.loads(stranger.stop()[-1])
        assert (end["id"], end["parts"], end["end"]) == (ID, [{"type": "text", "text": "Hello"}], "stopped")

    def test_what_the_model_thinks_and_calls_are_parts(self):
        chunk = {"object": "chat.completion.chunk"}
        calls = [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city":1}'}}]
        deltas: list[Any] = [{"reasoning_content": "hm"}, {"tool_calls": calls}, {"content": "Done."}]
        chunks = generated(*({**chunk, "choices": [{"index": 0, "delta": delta}]} for delta in deltas))
        assert folded(chunks)["parts"] == [
            {"type": "reasoning", "text": "hm"},
            {"type": "text", "text": "Done."},
            {"type": "tool-call", "call_id": "c1", "name": "weather", "input": {"city": 1}},
        ]
        assert folded(chunks)["content"] == "Done."

    @pytest.mark.parametrize("item", [{"text": "x"}, {"type": 1}, object()])
    def test_what_cannot_be_encoded_is_refused_with_the_fix(self, item: Any):
        with pytest.raises(TypeError, match="Yield str for text"):
            encoder().encode(item)


class TestDialect:
    def test_it_is_chosen_by_name(self):
        assert type(get_format("html")) is HTMLFormat

    def test_a_form_is_read_and_its_text_made_fit_for_a_page(self):
        asked = FORMAT.parse_request({"id": "c1", "message": "One\r\ntwo\0\ud800", "csrfmiddlewaretoken": "x"})
        assert (asked.chat_id, asked.messages[0]["content"]) == ("c1", "One\ntwo\ufffd\ufffd")
        with pytest.raises(InvalidRequestError):
            FORMAT.parse_request({"id": "c1"})

    def test_the_end_is_an_event_that_closes_the_connection(self):
        assert FORMAT.end_event(EndReason.STOPPED, None) == ("end", '{"reason":"stopped"}')
        assert FORMAT.end_event(EndReason.INTERRUPTED, "Gone.", "shutdown") == (
            "end",
            '{"reason":"interrupted","cause":"shutdown"}',
        )
        assert FORMAT.nothing_left() == ("end", "{}")

    def test_a_chat_is_folded_into_what_the_templates_take(self):
        user, answer = FORMAT.fold([stored(generated("Hi"), user_messages=[USER]), stored([])])
        assert user == USER
        assert answer == {
            "id": ID,
            "role": "assistant",
            "content": "Hi",
            "parts": [{"type": "text", "text": "Hi"}],
            "end": "finished",
            "error": None,
        }
