"""The built-in model: it answers from this project's manual, word by word, at the pace of a person reading along.

It stands in for a language model where there is none, and yields what one would: reasoning, a tool call with its
result, sources, and text. See https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol for the chunks.
"""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from .manual_search import Hit, SearchIndex, terms
from .markdown_text import Section, split_blocks, split_sections

Item = str | dict[str, Any]
"""What ``generate`` may yield: a piece of text, or a chunk as it is."""

_SECTION_WORDS = 220
"""About how much of a section is quoted."""
_SECOND_SECTION_SHARE = 0.6
"""Share of the best section's score that earns the next one a place in the answer."""

GREETING = """Hello! I am the **demo model** of this project. I search its manual and read the fitting sections aloud, \
slowly enough that you can interrupt me. Things to ask:

{suggestions}

While I answer, **reload the page**, open it in a **second tab**, press **Stop**, or open the **log** and cut the \
connection: the answer goes on where it was, because every piece of it is a record on a durable log."""

NOTHING_FOUND = """I found **nothing about that** in the manual, and it is all I know. Its first page has sections on:

{sections}

For answers about anything else, start the server with `OPENAI_BASE_URL` and `OPENAI_API_KEY` set: then a real model \
takes my place."""


class DemoModel:
    """Answers questions about Markdown ``pages``, the README first, one word each ``word_seconds`` on average."""

    def __init__(self, pages: Sequence[Path], *, word_seconds: float) -> None:
        self._pages = pages
        self._word_seconds = word_seconds

    async def answer(self, messages: Sequence[Mapping[str, Any]]) -> AsyncGenerator[Item]:
        """Yield the answer to the last of ``messages`` (UI messages) as text and AI SDK chunks."""
        question = last_question(messages)
        index = load_index(self._pages)
        if not terms(question):
            async for word in self._spoken(GREETING.format(suggestions=_bullets(_suggestions(index)))):
                yield word
            return
        async for chunk in self._reasoning(question, index):
            yield chunk
        hits = index.search(question)
        async for chunk in self._search_call(question, hits):
            yield chunk
        for number, section in enumerate(_quoted(hits), start=1):
            yield _source(number, section)
        async for word in self._spoken(compose_answer(index, hits)):
            yield word

    async def _reasoning(self, question: str, index: SearchIndex) -> AsyncIterator[Item]:
        part = "reasoning-1"
        thought = (
            f"The question is “{_shortened(question)}”. The manual has {len(index.sections)} sections. "
            "I search them for the words that tell the most, and read out what fits best."
        )
        yield {"type": "reasoning-start", "id": part}
        async for word in self._spoken(thought):
            yield {"type": "reasoning-delta", "id": part, "delta": word}
        yield {"type": "reasoning-end", "id": part}

    async def _search_call(self, question: str, hits: Sequence[Hit]) -> AsyncIterator[Item]:
        call = {"toolCallId": f"call-{uuid.uuid4().hex}", "toolName": "search_manual"}
        yield {"type": "tool-input-start", **call}
        yield {"type": "tool-input-available", **call, "input": {"query": _shortened(question)}}
        await asyncio.sleep(self._word_seconds * 12)
        sections = [{"section": " / ".join(hit.section.path), "score": round(hit.score, 2)} for hit in hits]
        yield {"type": "tool-output-available", "toolCallId": call["toolCallId"], "output": {"sections": sections}}

    async def _spoken(self, text: str) -> AsyncIterator[str]:
        for word in split_words(text):
            # Even gaps look like a machine; these look like typing. Not a matter of security.
            await asyncio.sleep(self._word_seconds * random.uniform(0.7, 1.3))  # noqa: S311
            yield word


def last_question(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the last user message; ``""`` if there is none."""
    asked = (message for message in reversed(messages) if message.get("role") == "user")
    return message_text(next(asked, {}))


def message_text(message: Mapping[str, Any]) -> str:
    """Join the text parts of a UI message."""
    parts = message.get("parts") or ()
    return "\n".join(part["text"] for part in parts if part.get("type") == "text" and part.get("text"))


def split_words(text: str) -> Iterator[str]:
    """Split ``text`` after the space that follows each word; the pieces joined are ``text``."""
    return (match[0] for match in re.finditer(r"\s*\S+\s*", text))


def load_index(pages: Sequence[Path]) -> SearchIndex:
    """Return the index of the files, made anew whenever one has changed; an absent file has no sections."""
    return _index(tuple((page, page.stat().st_mtime_ns) for page in pages if page.is_file()))


@lru_cache(maxsize=1)
def _index(pages: tuple[tuple[Path, int], ...]) -> SearchIndex:
    texts = [(page.name, page.read_text(encoding="utf-8")) for page, _ in pages]
    return SearchIndex([section for name, text in texts for section in split_sections(text, name)])


def compose_answer(index: SearchIndex, hits: Sequence[Hit]) -> str:
    """Write the answer that quotes the sections found, or says that there are none."""
    quoted = _quoted(hits)
    if not quoted:
        return NOTHING_FOUND.format(sections=_bullets(_main_titles(index)))
    passages = [_passage(index, section) for section in quoted]
    others = [hit.section.title for hit in hits if hit.section not in quoted]
    if others:
        passages.append("You could also ask about " + " or ".join(f"*{title}*" for title in others) + ".")
    return "\n\n".join(passages)


def _quoted(hits: Sequence[Hit]) -> list[Section]:
    return [hit.section for hit in hits[:2] if hit.score >= hits[0].score * _SECOND_SECTION_SHARE]


def _passage(index: SearchIndex, section: Section) -> str:
    body, is_whole = excerpt(section.body, _SECTION_WORDS)
    passage = f"### {section.title}\n\n{body}"
    if not is_whole:
        passage += f"\n\n*(The section goes on in `{section.page}`.)*"
    if below := index.subsections(section):
        passage += "\n\nMore on: " + ", ".join(f"*{other.title}*" for other in below) + "."
    return passage


def excerpt(body: str, most_words: int) -> tuple[str, bool]:
    """Return the first blocks of ``body`` with about ``most_words`` words, and whether that is all of it.

    Whole blocks, at least one: half a table or half a code block would not be readable.
    """
    taken: list[str] = []
    words = 0
    blocks = list(split_blocks(body))
    for block in blocks:
        words += len(block.split())
        if taken and words > most_words:
            break
        taken.append(block)
    return "\n\n".join(taken), len(taken) == len(blocks)


def _source(number: int, section: Section) -> dict[str, Any]:
    return {
        "type": "source-document",
        "sourceId": f"source-{number}",
        "mediaType": "text/markdown",
        "title": section.title,
        "filename": section.page,
    }


def _suggestions(index: SearchIndex) -> list[str]:
    return [f"What does the manual say about “{title}”?" for title in _main_titles(index)[:6]]


def _main_titles(index: SearchIndex) -> list[str]:
    first = [section for section in index.sections if section.page == index.sections[0].page]
    titles = [section.title for section in first if len(section.path) == 2]
    return titles or [section.title for section in first] or ["(the manual is empty)"]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _shortened(text: str, length: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
