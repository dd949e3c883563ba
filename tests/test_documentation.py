"""The README and the pages of the manual: their links, their index and their English."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resumable_stream.management.commands.resumable_stream import Command

from .support.manual import ROOT

INDEX = ROOT / "docs" / "index.md"
PAGES = [ROOT / name for name in ("README.md", "SECURITY.md")] + sorted((ROOT / "docs").rglob("*.md"))

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)

CRYPTIC = re.compile(
    r"\b(has|have) it all\b|\bis over\b|\btells? whether\b|\bdoors?\b|\bto let go\b|\blets go\b|\bwhoever\b"
    r"|\b(take|takes|took) note\b|\bstrangers?\b|\bis told\b|\bare told\b|\b[Ww]hat is no\b|\bheeded\b"
)
"""Phrases that hide who acts, or that a reader has to decode. Name the client, the writer or the log instead."""


def prose_of(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    written = re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(written)


def links_of(page: Path) -> list[tuple[Path, str]]:
    found = [link.partition("#") for link in LINK.findall(prose_of(page)) if "://" not in link]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in links_of(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors_of(target), f"{target.name}#{anchor}"


def test_the_index_links_every_page() -> None:
    linked = {target for target, _ in links_of(INDEX)}

    assert set(PAGES) - linked - {INDEX} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_prose_has_none_of_the_phrases_that_readers_have_to_decode(page: Path) -> None:
    found = [line for line in prose_of(page).splitlines() if CRYPTIC.search(line)]

    assert found == []


def test_the_glossary_is_in_alphabetical_order() -> None:
    rows = re.findall(r"^\| ([\w ]+) \|", INDEX.read_text().split("\n## Glossary\n")[1], re.MULTILINE)[1:]

    assert rows == sorted(rows, key=str.casefold)


def test_the_page_of_the_command_lists_every_subcommand() -> None:
    page = (ROOT / "docs" / "command.md").read_text()
    listed = re.findall(r"^\| `(\w+)[^|]*` \|", page, re.MULTILINE)
    parser = Command().create_parser("manage.py", "resumable_stream")
    (subcommands,) = (action.choices for action in parser._actions if action.dest == "command")

    assert subcommands is not None
    assert listed == list(subcommands)
