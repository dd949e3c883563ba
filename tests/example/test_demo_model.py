"""The example project's built-in model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from example_project import settings
from example_project.demo_model import DemoModel, Item, excerpt, last_question, load_index, message_text, split_words

README = """\
# Kettle

## Boiling

Fill it with water.

Then press the button.

### Boiling milk

Do not boil milk in it.

## Cleaning

Use vinegar.
"""


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(README)
    return path


def user(text: str) -> dict[str, Any]:
    return {"id": "u", "role": "user", "parts": [{"type": "text", "text": text}]}


async def ask(readme: Path, question: str) -> list[Item]:
    return [item async for item in DemoModel([readme], word_seconds=0).answer([user(question)])]


def text_of(items: list[Item]) -> str:
    return "".join(item for item in items if isinstance(item, str))


def types_of(items: list[Item]) -> list[str]:
    return list(dict.fromkeys(item["type"] for item in items if isinstance(item, dict)))


async def test_an_answer_shows_its_reasoning_its_search_and_its_sources_before_the_text(readme: Path) -> None:
    items = await ask(readme, "How is the kettle cleaned?")

    assert types_of(items) == [
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
        "tool-input-start",
        "tool-input-available",
        "tool-output-available",
        "source-document",
    ]
    assert [isinstance(item, str) for item in items] == sorted(isinstance(item, str) for item in items)
    assert text_of(items).startswith("### Cleaning\n\nUse vinegar.")


async def test_the_search_tells_what_it_was_asked_and_what_it_found(readme: Path) -> None:
    items = await ask(readme, "cleaning")
    chunks = {item["type"]: item for item in items if isinstance(item, dict)}

    assert chunks["tool-input-available"]["input"] == {"query": "cleaning"}
    assert chunks["tool-output-available"]["toolCallId"] == chunks["tool-input-available"]["toolCallId"]
    found = chunks["tool-output-available"]["output"]["sections"]
    assert [hit["section"] for hit in found] == ["Kettle / Cleaning"]


async def test_an_answer_comes_word_by_word(readme: Path) -> None:
    words = [item for item in await ask(readme, "cleaning") if isinstance(item, str)]

    assert words == ["### ", "Cleaning\n\n", "Use ", "vinegar."]


async def test_an_answer_names_what_else_there_is(readme: Path) -> None:
    text = text_of(await ask(readme, "boiling"))

    assert "### Boiling\n\nFill it with water.\n\nThen press the button." in text
    assert "More on: *Boiling milk*." in text


async def test_a_question_about_something_else_is_told_what_the_readme_has(readme: Path) -> None:
    text = text_of(await ask(readme, "weather in Paris"))

    assert "nothing about that" in text
    assert "- Boiling\n- Cleaning" in text


@pytest.mark.parametrize("greeting", ["Hello!", "What can you do?", "hi", "Thanks"])
async def test_a_greeting_is_answered_with_suggestions_and_no_search(readme: Path, greeting: str) -> None:
    items = await ask(readme, greeting)

    assert types_of(items) == []
    assert "What does the manual say about “Boiling”?" in text_of(items)


async def test_without_a_readme_it_says_so(tmp_path: Path) -> None:
    text = text_of(await ask(tmp_path / "absent.md", "cleaning"))

    assert "(the manual is empty)" in text


def test_a_readme_is_read_again_only_when_it_has_changed(readme: Path) -> None:
    before = load_index([readme])
    again = load_index([readme])
    readme.write_text("# Teapot\n\n## Cosy\n\nKnit one.\n")

    assert again is before
    assert [hit.section.title for hit in load_index([readme]).search("cosy")] == ["Cosy"]


def test_sections_of_every_page_are_found_and_name_their_page(tmp_path: Path) -> None:
    readme, settings = tmp_path / "README.md", tmp_path / "settings.md"
    readme.write_text("# Kettle\n\n## Boiling\n\nIt boils water.\n")
    settings.write_text("# Settings\n\n## Seconds\n\nHow long it whistles.\n")
    index = load_index([readme, settings, tmp_path / "absent.md"])

    assert [hit.section.page for hit in index.search("whistles")] == ["settings.md"]
    assert [hit.section.page for hit in index.search("boils")] == ["README.md"]


def test_the_settings_are_found_in_the_projects_own_manual() -> None:
    hits = load_index(settings.DEMO_PAGES).search("Show me the settings")

    assert "settings.md" in [hit.section.page for hit in hits]


def test_the_last_user_message_is_the_question() -> None:
    messages = [user("first"), {"role": "assistant", "parts": []}, user("second"), {"role": "assistant", "parts": []}]

    assert last_question(messages) == "second"
    assert last_question([]) == ""


def test_only_text_parts_are_read() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "file", "url": "data:,"}, {"type": "text", "text": "b"}]

    assert message_text({"parts": parts}) == "a\nb"
    assert message_text({}) == ""


@given(st.text(alphabet=" \n\tab*").map(lambda text: text + "."))
def test_the_words_of_a_text_joined_are_the_text(text: str) -> None:
    assert "".join(split_words(text)) == text


def test_an_excerpt_keeps_whole_blocks() -> None:
    body = "One two three.\n\n```py\na = 1\n\nb = 2\n```\n\nFour."

    assert excerpt(body, 3) == ("One two three.", False)
    assert excerpt(body, 5) == ("One two three.", False)
    assert excerpt(body, 11) == ("One two three.\n\n```py\na = 1\n\nb = 2\n```", False)
    assert excerpt(body, 12) == (body, True)
    assert excerpt("Much too long for that.", 1) == ("Much too long for that.", True)
