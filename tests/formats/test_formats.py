from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from resumable_stream.formats import ChunkFormat, EndReason, GenerationFacts, StoredGeneration, get_format
from resumable_stream.formats.aisdk import AISDKFormat
from resumable_stream.formats.conversation import Conversation, continued_message
from resumable_stream.formats.text import TextFormat


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("aisdk", AISDKFormat),
        ("text", TextFormat),
        (TextFormat, TextFormat),
        ("resumable_stream.formats.text.TextFormat", TextFormat),
    ],
)
def test_a_format_is_chosen_by_name_class_or_path(chosen: Any, expected: type[ChunkFormat]):
    assert type(get_format(chosen)) is expected


def test_an_instance_is_taken_as_it_is():
    instance = AISDKFormat(client_version=5)
    assert get_format(instance) is instance


@pytest.mark.parametrize(
    "chosen",
    [
        "ai-sdk",
        "",
        "resumable_stream.formats.text.format.NoFormat",
        "nowhere.at.all",
        "json.JSONDecoder",
        ChunkFormat,
        int,
        None,
    ],
)
def test_anything_else_is_a_configuration_error_that_names_the_choices(chosen: Any):
    with pytest.raises(ImproperlyConfigured, match=r"Choose .*'aisdk', .*, or give a ChunkFormat class"):
        get_format(chosen)


def test_formats_work_before_django_is_configured():
    code = (
        "from resumable_stream.formats import GenerationFacts, get_format\n"
        "for name in ('aisdk', 'text'):\n"
        "    encoder = get_format(name).encoder(GenerationFacts(generation_id='g', message_id='m'))\n"
        "    print(encoder.encode('Hello') + encoder.encode({'type': 'data-x', 'data': 1}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.count("Hello")) == ("", 2)


def test_no_format_imports_a_model_library():
    code = (
        "import sys\n"
        "from resumable_stream.formats import GenerationFacts, get_format\n"
        "for name in ('aisdk', 'text'):\n"
        "    get_format(name).encoder(GenerationFacts(generation_id='g', message_id='m')).encode({'type': 'data-x'})\n"
        "print(sorted({'pydantic', 'openai', 'anthropic', 'langchain_core', 'litellm', 'httpx'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def message(message_id: str, role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"id": message_id, "role": role, **fields}


def conversation(*messages: dict[str, Any]) -> Conversation:
    chat = Conversation()
    for one in messages:
        chat.place_answer(one)
    return chat


class TestConversation:
    def test_new_message_comes_last(self):
        chat = conversation(message("u1"))
        chat.place_user_message(message("u2"))
        assert chat.messages() == [message("u1"), message("u2")]

    def test_known_message_replaces_itself_and_all_that_followed(self):
        chat = conversation(message("u1"), message("a1", "assistant"), message("u2"))
        chat.place_user_message(message("u1", text="edited"))
        assert chat.messages() == [message("u1", text="edited")]

    def test_new_answer_comes_last(self):
        chat = conversation(message("u1"))
        chat.place_answer(message("a1", "assistant"))
        assert chat.messages() == [message("u1"), message("a1", "assistant")]

    def test_known_answer_replaces_only_itself(self):
        chat = conversation(message("a1", "assistant"), message("u2"))
        chat.place_answer(message("a1", "assistant", text="more"))
        assert chat.messages() == [message("a1", "assistant", text="more"), message("u2")]

    @pytest.mark.parametrize(
        ("messages", "message_id", "continues"),
        [
            ([], "a1", False),
            ([message("a1", "assistant")], "a1", True),
            ([message("a1", "assistant")], "a2", False),
            ([message("a1", "assistant")], None, False),
            ([message("a1")], "a1", False),
            ([message("a1", "assistant"), message("u2")], "a1", True),
        ],
    )
    def test_answer_is_continued_under_its_id(self, messages: list[Any], message_id: str | None, continues: bool):
        assert continued_message(messages, message_id) == (message("a1", "assistant") if continues else None)


_USER = {
    "aisdk": {"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hello"}]},
    "tanstack": {"id": "u", "role": "user", "parts": [{"type": "text", "content": "Hello"}]},
}
_BEGINNINGS: dict[str, list[Any]] = {
    "aisdk": [{"type": "start"}, {"type": "start-step"}],
    "agui": [{"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}],
    "tanstack": [{"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}],
    "anthropic": [{"type": "message_start", "message": {}}],
    "text": [],
}


@pytest.mark.parametrize("end", [EndReason.STOPPED, EndReason.FAILED, EndReason.INTERRUPTED])
@pytest.mark.parametrize("is_begun", [False, True], ids=["nothing", "a beginning"])
@pytest.mark.parametrize("name", list(_BEGINNINGS))
def test_an_answer_that_is_broken_off_before_its_first_part_is_no_message(name: str, is_begun: bool, end: EndReason):
    format_ = get_format(name)
    user = _USER.get(name, {"id": "u", "role": "user", "content": "Hello"})
    encoder = format_.encoder(GenerationFacts(generation_id="g", message_id="m", user_messages=[user]))
    chunks = encoder.start()
    for item in _BEGINNINGS[name] if is_begun else ():
        chunks += encoder.encode(item)
    endings = {EndReason.STOPPED: encoder.stop, EndReason.FAILED: lambda: encoder.fail("Sorry.")}
    chunks += endings.get(end, lambda: encoder.interrupt("Gone."))()
    stored = StoredGeneration(generation_id="g", message_id="m", user_messages=[user], chunks=chunks, end=end)
    assert format_.fold([stored]) == [user]
    assert format_.fold_answer(stored) is None
