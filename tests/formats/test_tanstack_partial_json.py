from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats.javascript import MISSING
from resumable_stream.formats.tanstack.partial_json import parse_partial

from .ai_client import NodeClient
from .strategies import json_values, texts

_cut = st.tuples(json_values.map(json.dumps), st.integers(0, 30)).map(lambda given: given[0][: given[1]])
_pieces = st.lists(
    st.sampled_from(
        ['{"', '"', "{", "}", "[", "]", ",", ":", "-", "1", ".", "e", "tru", "nul", "N", "Inf", "\\", "\\u0", " "]
    ),
    max_size=12,
).map("".join)


def comparable(text: str) -> Any:
    value = parse_partial(text)
    return {} if value is MISSING else json.loads(json.dumps({"value": value}), parse_int=float)


@settings(max_examples=400)
@given(written=st.lists(st.one_of(_cut, _pieces, texts), min_size=1, max_size=10))
def test_it_is_read_as_the_client_reads_it(tanstack: NodeClient, written: list[str]):
    assert [comparable(text) for text in written] == tanstack.ask("partial", texts=written)
