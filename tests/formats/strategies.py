"""Generated texts, JSON values and AI SDK chunks."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# All of Unicode, lone surrogates and control characters included, with those that have broken readers before.
texts = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(exclude_categories=()), max_size=10),
    st.text(st.sampled_from('\0\n\r\t"\\ \x7f\x85\u2028\u2029\ufeff\ud83d\ude00\U0001f600é中'), max_size=10),
)
# Whole numbers that a double holds; what comes back from JavaScript is compared with them.
numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
json_objects = st.dictionaries(st.sampled_from(["a", "b", "c", "toString", "0"]), json_values, max_size=3)
provider_metadata = st.dictionaries(st.sampled_from(["openai", "google"]), json_objects, max_size=2)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any choice of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


_flags = st.booleans()
_names = st.sampled_from(["weather", "search-web", "a"])
_provider = {"providerMetadata": provider_metadata}
_call_details = {
    **_provider,
    "providerExecuted": _flags,
    "title": texts,
    "toolMetadata": json_objects,
    "dynamic": _flags,
}
_citations = st.lists(
    st.fixed_dictionaries(
        {"source": st.just({"type": "source", "sourceType": "url", "id": "s", "url": "https://example.com"})},
        optional={"startIndex": st.integers(0, 9), "citedText": texts},
    ),
    max_size=2,
)


class Answers:
    """Draws one answer: sequences that make sense, now and then with a chunk that does not."""

    TEXT_IDS = ("t1", "t2", "__proto__")
    CALL_IDS = ("c1", "c2", "c3")

    def __init__(self, draw: st.DrawFn, version: int) -> None:
        self._draw = draw
        self._version = version
        self._open: list[tuple[str, str]] = []
        self._calls: dict[str, bool] = {}
        self._approvals: list[str] = []
        self.chunks: list[dict[str, Any]] = []

    def _one_of(self, options: Any) -> Any:
        return self._draw(st.sampled_from(list(options)))

    def _add(self, kind: str, details: dict[str, st.SearchStrategy[Any]] | None = None, /, **fields: Any) -> None:
        self.chunks.append({"type": kind, **fields, **self._draw(optional(**(details or {})))})

    def start(self, **fields: Any) -> None:
        self._add("start", {"messageMetadata": st.one_of(json_objects, json_values)}, **fields)

    def begin_text(self) -> None:
        kind, part_id = self._one_of(("text", "reasoning")), self._one_of(self.TEXT_IDS)
        self._add(f"{kind}-start", _provider, id=part_id)
        if (kind, part_id) not in self._open:
            self._open.append((kind, part_id))

    def grow_text(self) -> None:
        if self._open:
            kind, part_id = self._one_of(self._open)
            self._add(f"{kind}-delta", _provider, id=part_id, delta=self._draw(texts))

    def end_text(self) -> None:
        if self._open:
            kind, part_id = self._one_of(self._open)
            self._open.remove((kind, part_id))
            cited = {"citations": _citations} if self._version == 7 and kind == "text" else {}
            self._add(f"{kind}-end", {**_provider, **cited}, id=part_id)

    def begin_call(self) -> None:
        details = {**_call_details, "inputEncoding": st.sampled_from(["json", "text"])}
        call_id = self._one_of(self.CALL_IDS)
        self._add("tool-input-start", details, toolCallId=call_id, toolName=self._draw(_names))
        self._calls[call_id] = self.chunks[-1].get("dynamic", False)

    def grow_call(self) -> None:
        if self._calls:
            pieces = ['{"city":', '"Par', 'is\\u00e9"', ",", '"n":[-', "1.5e", "3,tr", "ue", "]", "}", "😀"]
            delta = self._draw(st.one_of(st.sampled_from(pieces), texts))
            self._add("tool-input-delta", toolCallId=self._one_of(self._calls), inputTextDelta=delta)

    def complete_call(self) -> None:
        call_id = self._one_of(self.CALL_IDS)
        fields = {"toolCallId": call_id, "toolName": self._draw(_names), "input": self._draw(json_values)}
        if self._draw(st.integers(0, 3)) == 0:
            self._add("tool-input-error", _call_details, errorText=self._draw(texts), **fields)
        else:
            self._add("tool-input-available", _call_details, **fields)
        self._calls[call_id] = self.chunks[-1].get("dynamic", False)

    def answer_call(self) -> None:
        if not self._calls:
            return
        call_id = self._one_of(self._calls)
        # Version 5 looks a call up by what the chunk says of it, so that it had better be right.
        fields = {"toolCallId": call_id, **({"dynamic": True} if self._calls[call_id] else {})}
        details = {"providerExecuted": _flags, "toolMetadata": json_objects, **_provider}
        if self._draw(_flags):
            output = self._draw(json_values)
            self._add("tool-output-available", {**details, "preliminary": _flags}, output=output, **fields)
        else:
            self._add("tool-output-error", details, errorText=self._draw(texts), **fields)

    def ask(self) -> None:
        if self._calls and self._version >= 6:
            details = {"approvalDescriptor": json_values, "inputSchemaInput": json_values, "signature": texts}
            details |= {"reason": texts, "isAutomatic": _flags}
            approval_id = f"approval-{len(self._approvals)}"
            self._approvals.append(approval_id)
            self._add("tool-approval-request", details, approvalId=approval_id, toolCallId=self._one_of(self._calls))

    def respond(self) -> None:
        if self._approvals and self._version == 7:
            details = {"reason": texts, "providerExecuted": _flags, **_provider}
            approved = self._draw(_flags)
            self._add("tool-approval-response", details, approvalId=self._approvals[-1], approved=approved)

    def deny(self) -> None:
        if self._calls and self._version >= 6:
            self._add("tool-output-denied", toolCallId=self._one_of(self._calls))

    def add_part(self) -> None:
        url = "https://example.com/ä"
        match self._one_of(("file", "source-url", "source-document", "newest")):
            case "file":
                self._add("file", _provider, url=url, mediaType="image/png")
            case "source-url":
                self._add("source-url", {"title": texts, **_provider}, sourceId="s1", url=url)
            case "source-document":
                fields = {"sourceId": "s2", "mediaType": "text/plain", "title": self._draw(texts)}
                self._add("source-document", {"filename": texts, **_provider}, **fields)
            case "newest" if self._version == 7:
                self._add_newest_part(url)

    def _add_newest_part(self, url: str) -> None:
        match self._one_of(("custom", "reasoning-file", "steering-message")):
            case "custom":
                self._add("custom", _provider, kind="openai.compaction")
            case "reasoning-file":
                self._add("reasoning-file", _provider, url=url, mediaType="image/png")
            case "steering-message":
                self._add("steering-message", id="u9", parts=[{"type": "text", "text": self._draw(texts)}])

    def add_data(self) -> None:
        details = {"transient": _flags, "other": json_values}
        part_id = self._one_of(({}, {"id": "d1"}, {"id": "d1"}))
        self._add(self._one_of(("data-weather", "data-")), details, data=self._draw(json_values), **part_id)

    def begin_step(self) -> None:
        self._add("start-step")

    def finish_step(self) -> None:
        self._add("finish-step")
        if self._version < 7:
            self._open.clear()

    def reset_step(self) -> None:
        if self._version == 7:
            self._add("reset-step")
            self._open.clear()
            # Calls of earlier steps are still there, but which those are is the client's to know.
            self._calls.clear()

    def add_metadata(self) -> None:
        self._add("message-metadata", messageMetadata=self._draw(st.one_of(json_objects, json_values)))

    def finish(self) -> None:
        reason = st.sampled_from(["stop", "length", "other"])
        self._add("finish", {"finishReason": reason, "messageMetadata": json_objects})

    def abort(self) -> None:
        self._add("abort")

    def fail(self) -> None:
        self._add("error", errorText=self._draw(texts))

    def misstep(self) -> None:
        """Add a chunk that clients mostly do not take."""
        chunk = self._one_of(
            (
                {"type": "text-delta", "id": "nowhere", "delta": "x"},
                {"type": "reasoning-end", "id": "nowhere"},
                {"type": "text-delta", "id": "t1"},
                {"type": "text-start", "id": 1},
                {"type": "tool-input-delta", "toolCallId": "nowhere", "inputTextDelta": "x"},
                {"type": "tool-output-available", "toolCallId": "nowhere", "output": 1},
                {"type": "tool-output-error", "toolCallId": "c1", "errorText": "x", "dynamic": True},
                {"type": "tool-approval-response", "approvalId": "nowhere", "approved": True},
                {"type": "tool-output-denied", "toolCallId": "nowhere"},
                {"type": "start", "messageId": None},
                {"type": "tool-input-available", "toolCallId": "c1", "toolName": "a"},
                {"type": "tool-output-available", "toolCallId": "c1"},
                {"type": "data-x"},
                {"type": "done"},
                {"type": "unheard-of"},
                {"type": "data-x", "data": {"__proto__": 1}},
                {"data": 1},
                [],
            )
        )
        self.chunks.append(chunk)


_USUAL_STEPS = (
    *("begin_text", "grow_text", "grow_text", "end_text", "begin_call", "grow_call", "grow_call", "complete_call"),
    *("answer_call", "answer_call", "ask", "respond", "deny", "add_part", "add_data", "begin_step", "finish_step"),
    *("reset_step", "add_metadata", "grow_text", "grow_call", "complete_call", "add_data"),
)
# Few of these, lest most answers end early.
_ENDING_STEPS = ("finish", "abort", "fail", "misstep")
_STEPS = st.lists(st.sampled_from((*_USUAL_STEPS * 4, *_ENDING_STEPS)), max_size=25)


@st.composite
def answers(draw: st.DrawFn, version: int, *, message_id: str | None = "a1", start: bool = True) -> list[Any]:
    """Chunks of one answer, for clients of ``version``."""
    answer = Answers(draw, version)
    if start:
        answer.start(**({"messageId": message_id} if message_id is not None else {}))
    for step in draw(_STEPS):
        getattr(answer, step)()
    return answer.chunks


@st.composite
def _call_segments(draw: st.DrawFn, version: int, call_id: str) -> list[Any]:
    """A tool call as models and tools really make it, broken off anywhere."""
    call = {"toolCallId": call_id}
    named = {**call, "toolName": draw(_names), **draw(optional(**{**_call_details, **_provider}))}
    if version == 5:
        named = {key: value for key, value in named.items() if key not in ("title", "toolMetadata")}
    dynamic = {"dynamic": True} if named.get("dynamic") else {}
    chunks: list[Any] = []
    if draw(_flags):
        start_fields = {key: value for key, value in named.items() if version >= 6 or key != "providerMetadata"}
        chunks.append({"type": "tool-input-start", **start_fields})
        deltas = draw(st.lists(st.sampled_from(['{"city":', '"Par', 'is"', "}"]), max_size=3))
        chunks += [{"type": "tool-input-delta", **call, "inputTextDelta": delta} for delta in deltas]
    if draw(st.integers(0, 3)) == 0:
        error = {"type": "tool-input-error", **named, "input": draw(json_objects), "errorText": draw(texts)}
        return [*chunks, error][: draw(st.integers(0, len(chunks) + 1))]
    chunks.append({"type": "tool-input-available", **named, "input": draw(json_values)})
    if version >= 6 and draw(_flags):
        details = draw(optional(approvalDescriptor=json_objects, inputSchemaInput=json_values, signature=texts))
        chunks.append({"type": "tool-approval-request", **call, "approvalId": f"approval-{call_id}", **details})
        answer = {"approvalId": f"approval-{call_id}", "approved": draw(_flags), **draw(optional(reason=texts))}
        if version == 7:
            chunks.append({"type": "tool-approval-response", **answer})
    result = {**call, **dynamic, **draw(optional(**_provider) if version >= 6 else st.just({}))}
    if version >= 6 and draw(st.integers(0, 3)) == 0:
        chunks.append({"type": "tool-output-denied", **call})
    else:
        output = {"type": "tool-output-available", **result, "output": draw(json_values)}
        error = {"type": "tool-output-error", **result, "errorText": draw(texts)}
        chunks += [output | {"preliminary": True}] * draw(st.integers(0, 1))
        chunks.append(draw(st.sampled_from((output, error))))
    return chunks[: draw(st.integers(0, len(chunks)))]


@st.composite
def _text_segments(draw: st.DrawFn, version: int, part_id: str) -> list[Any]:
    kind, part = draw(st.sampled_from(("text", "reasoning"))), {"id": part_id}
    deltas = [{"type": f"{kind}-delta", **part, "delta": delta} for delta in draw(st.lists(texts, max_size=3))]
    cited = {"citations": _citations} if version == 7 and kind == "text" else {}
    end = {"type": f"{kind}-end", **part, **draw(optional(**_provider, **cited))}
    chunks = [{"type": f"{kind}-start", **part, **draw(optional(**_provider))}, *deltas, end]
    return chunks[: draw(st.integers(1, len(chunks)))]


@st.composite
def sensible_answers(draw: st.DrawFn, version: int) -> list[Any]:
    """Chunks of one answer in which nothing is out of order; parts and calls may be unfinished."""
    answer = Answers(draw, version)
    answer.start(messageId="a1")
    for number, kind in enumerate(
        draw(st.lists(st.sampled_from(("text", "call", "part", "data", "step")), max_size=6))
    ):
        if kind == "text":
            answer.chunks += draw(_text_segments(version, f"t{number}"))
        elif kind == "call":
            answer.chunks += draw(_call_segments(version, f"c{number}"))
        elif kind == "part":
            answer.add_part()
        elif kind == "data":
            answer.add_data()
        else:
            answer.begin_step()
    return answer.chunks
