"""The example project's search through the manual."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from example_project.manual_search import SearchIndex, terms
from example_project.markdown_text import split_blocks, split_sections

README = """\
Text before any heading.

# Kettle

A kettle boils water.

## Installation

```sh
# not a heading
pip install kettle
```

## Settings

There are few.

### `BOIL_SECONDS` [here](#x)

How long the water boils. Default: 90.

### Fencing tokens

A fencing token keeps the second cook away.

Deployment
----------

Put the kettle behind a proxy that does not buffer steam.
"""


def titles(question: str) -> list[str]:
    return [hit.section.title for hit in SearchIndex(split_sections(README)).search(question)]


def test_sections_carry_the_headings_above_them() -> None:
    assert [section.path for section in split_sections(README)] == [
        (),
        ("Kettle",),
        ("Kettle", "Installation"),
        ("Kettle", "Settings"),
        ("Kettle", "Settings", "BOIL_SECONDS here"),
        ("Kettle", "Settings", "Fencing tokens"),
        ("Kettle", "Deployment"),
    ]


def test_the_text_of_a_section_is_kept_as_it_is() -> None:
    installation = split_sections(README)[2]

    assert installation.body == "```sh\n# not a heading\npip install kettle\n```"


@pytest.mark.parametrize(
    ("fence", "inside"),
    [("```", "~~~"), ("~~~~", "~~~"), ("```", "``"), ("````", "```\n# no\n```")],
    ids=["other mark", "shorter mark", "two backticks", "fences in a fence"],
)
def test_a_code_block_ends_only_at_its_own_fence(fence: str, inside: str) -> None:
    sections = split_sections(f"# A\n{fence}py\n{inside}\n# no\n{fence}\n# B\n")

    assert [section.title for section in sections] == ["A", "B"]


def test_a_code_block_that_never_ends_holds_everything_after_it() -> None:
    assert [section.title for section in split_sections("# A\n```\n# no\n")] == ["A"]


def test_a_rule_below_a_list_or_a_table_makes_no_heading() -> None:
    sections = split_sections("# A\n- item\n---\n| a |\n---\n")

    assert [section.title for section in sections] == ["A"]


@given(
    st.lists(st.sampled_from(["text", "# A", "## B ##", "```", "~~~", "---", "===", "- item", "> quote", "", "    "]))
)
def test_no_text_is_lost_and_none_is_doubled_whatever_the_markdown(lines: list[str]) -> None:
    sections = split_sections("\n".join(lines))
    kept = sum(section.body.split("\n").count("text") + (section.title == "text") for section in sections)

    assert kept == lines.count("text")


@given(st.text(alphabet="`~ \nab"))
def test_blocks_hold_every_line_that_is_not_blank(markdown: str) -> None:
    lines = [line for block in split_blocks(markdown) for line in block.split("\n") if line.strip()]

    assert lines == [line for line in markdown.splitlines() if line.strip()]


def test_terms_are_stems_without_stop_words() -> None:
    assert terms("How do I resume resuming a resumed fencing_token?") == ["resum", "resum", "resum", "fenc", "token"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How do I install it?", "Installation"),
        ("Which settings are there?", "Settings"),
        ("what does boil_seconds mean", "BOIL_SECONDS here"),
        ("fencing", "Fencing tokens"),
        ("Tell me about buffering proxies", "Deployment"),
    ],
)
def test_a_question_finds_the_section_that_a_person_would_open(question: str, expected: str) -> None:
    assert titles(question)[0] == expected


@pytest.mark.parametrize("question", ["What is the weather in Paris?", "", "???", "how do you do"])
def test_a_question_about_something_else_finds_nothing(question: str) -> None:
    assert titles(question) == []


def test_a_name_is_found_by_the_words_in_it() -> None:
    index = SearchIndex(split_sections("# A\nUse `ResumableChatView`.\n# B\nNothing.\n"))

    assert [hit.section.title for hit in index.search("chat view")] == ["A"]
    assert [hit.section.title for hit in index.search("resumablechatview")] == ["A"]


def test_subsections_are_those_directly_below() -> None:
    index = SearchIndex(split_sections(README))
    kettle, settings = index.sections[1], index.sections[3]

    assert [section.title for section in index.subsections(kettle)] == ["Installation", "Settings", "Deployment"]
    assert [section.title for section in index.subsections(settings)] == ["BOIL_SECONDS here", "Fencing tokens"]
