"""Cut a Markdown text into sections and blocks, without a parser: enough to quote from it readably."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*\Z")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*\Z")
_PARAGRAPH = re.compile(r" {0,3}[\w`*\[(]")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with the text up to the next heading."""

    path: tuple[str, ...]
    """The headings from the document's title down to the section's own; empty for a text before any heading."""
    body: str
    page: str = ""
    """The name of the file that it is in."""

    @property
    def title(self) -> str:
        """The section's own heading, without Markdown."""
        return self.path[-1] if self.path else "Introduction"


def split_sections(markdown: str, page: str = "") -> list[Section]:
    """Cut a Markdown text at its headings; whatever text stands in a code block is not a heading."""
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    body: list[str] = []

    def close() -> None:
        text = "\n".join(body).strip("\n")
        if path or text:
            sections.append(Section(path=tuple(title for _, title in path), body=text, page=page))
        body.clear()

    for level, line in _lines(markdown):
        if level == 0:
            body.append(line)
            continue
        close()
        path = [*(outer for outer in path if outer[0] < level), (level, plain_text(line))]
    close()
    return sections


def _lines(markdown: str) -> Iterator[tuple[int, str]]:
    """Yield each line with the level of the heading it is, or 0."""
    fence = ""
    pairs = iter([*pairwise([*markdown.splitlines(), ""])])
    for line, following in pairs:
        was_code, fence = bool(fence), _open_fence(fence, line)
        if was_code or fence:
            yield 0, line
        elif heading := _HEADING.match(line):
            yield len(heading[1]), heading[2]
        elif _PARAGRAPH.match(line) and (underline := _UNDERLINE.match(following)):
            yield (1 if underline[1][0] == "=" else 2), line.strip()
            next(pairs, None)
        else:
            yield 0, line


def _open_fence(fence: str, line: str) -> str:
    """Return the code fence that is open after ``line``, given the one before it; ``""`` for none."""
    mark = _FENCE.match(line)
    if mark is None:
        return fence
    if not fence:
        return mark[1]
    closes = mark[1].startswith(fence) and not line.strip(" \t" + fence[0])
    return "" if closes else fence


def plain_text(markdown: str) -> str:
    """Drop the marks of links, images, code and emphasis from one line."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", markdown)
    text = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    return re.sub(r"[`*]|<[^>]+>", "", text).strip()


def split_blocks(markdown: str) -> Iterator[str]:
    """Split at blank lines, but for those inside a fenced code block."""
    block: list[str] = []
    fence = ""
    for line in markdown.splitlines():
        fence = _open_fence(fence, line)
        if line.strip() or fence:
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)
