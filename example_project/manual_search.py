"""Find the sections of Markdown pages that fit a question: BM25 over headings and bodies, in memory.

A manual is small. What matters is that a question in everyday words finds the section a person would have opened, and
that a question about something else finds nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .markdown_text import Section

_WORD = re.compile(r"[^\W_]+")
_PART = re.compile(r"[A-Z][a-z]+|[A-Z]+(?![a-z])")
_SUFFIX = re.compile(r"(?<=[a-z]{3})(?:ations?|ings?|ity|ments?|ed|ies|(?<![aeiou])y|es|(?<!s)s|e)\Z")
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about after all also an and any are as at be been but by can could did do does for from get give
        had has have hello hey hi how i if in into is it its just know let like make many may me might more
        much my need no not of on one or our out please readme s say see should show so some t tell than
        thank thanks that the their them then there these they this to us use used using want was we were
        what when where which while who why will with would yes you your
        """,
    )
)

# The two usual constants of BM25: how soon repeating a word stops to count, and how much long sections are held back.
_SATURATION = 1.2
_LENGTH_PENALTY = 0.6
_LEAST_COVERAGE = 0.33
"""Share of a question, weighed by how telling its words are, that a section must speak of to count as an answer."""


class Hit(NamedTuple):
    """A section that fits a question."""

    section: Section
    score: float
    """Higher fits better; comparable within one search only."""


def terms(text: str) -> list[str]:
    """Split ``text`` into lower-case word stems without stop words; ``fencing_token`` falls into two."""
    return [_SUFFIX.sub("", word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def _indexed_terms(text: str) -> list[str]:
    """Return the terms of ``text``, and those inside names like ``ResumableChatView``."""
    parts = (part for word in _WORD.findall(text) if len(found := _PART.findall(word)) > 1 for part in found)
    return [*terms(text), *terms(" ".join(parts))]


class SearchIndex:
    """Sections, ready to be searched."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self.sections = sections
        """All sections, page after page, in the order of the text."""
        self._counts = [Counter(_indexed_terms("\n".join((*one.path, one.body)))) for one in self.sections]
        self._lengths = [sum(counts.values()) for counts in self._counts]
        self._mean_length = max(1.0, sum(self._lengths) / max(1, len(self._lengths)))
        self._spread = Counter(term for counts in self._counts for term in counts)

    def search(self, question: str, *, limit: int = 3) -> list[Hit]:
        """Return the sections that fit ``question``, the best first; none if it is about something else."""
        wanted = list(dict.fromkeys(terms(question)))
        hits = [
            Hit(section, self._score(wanted, number))
            for number, section in enumerate(self.sections)
            if section.body and self._covers(wanted, number)
        ]
        return sorted(hits, key=lambda hit: -hit.score)[:limit]

    def subsections(self, section: Section) -> list[Section]:
        """Return the sections directly below ``section``."""
        depth = len(section.path)
        return [
            other
            for other in self.sections
            if other.page == section.page and len(other.path) == depth + 1 and other.path[:depth] == section.path
        ]

    def _covers(self, wanted: list[str], number: int) -> bool:
        whole = sum(self._weight(term) for term in wanted)
        found = sum(self._weight(term) for term in wanted if term in self._counts[number])
        return whole > 0 and found / whole >= _LEAST_COVERAGE

    def _score(self, wanted: list[str], number: int) -> float:
        length = 1 - _LENGTH_PENALTY + _LENGTH_PENALTY * self._lengths[number] / self._mean_length
        counts = self._counts[number]
        score = sum(
            self._weight(term) * counts[term] * (_SATURATION + 1) / (counts[term] + _SATURATION * length)
            for term in wanted
        )
        # A question that names the section means the section, however often others mention it.
        title = set(terms(self.sections[number].title))
        return score * (1 + len(title.intersection(wanted)) / max(1, len(title)))

    def _weight(self, term: str) -> float:
        """Tell how telling a term is: one that few sections have says more; one that none has, the most."""
        spread = self._spread[term]
        return math.log(1 + (len(self.sections) - spread + 0.5) / (spread + 0.5))
