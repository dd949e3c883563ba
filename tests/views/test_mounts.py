"""Chats that a URLconf would let meet in one stream are found before anybody talks in them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from django.core.checks import run_checks
from django.http import HttpRequest
from django.test import override_settings
from django.urls import include, path

from resumable_stream import ResumableChatView, checks
from resumable_stream.mounts import mounts


class Support(ResumableChatView):
    name = "support"


class Sales(ResumableChatView):
    name = "sales"


class Copy(ResumableChatView):
    name = "support"


class Elsewhere(ResumableChatView):
    name = "support"
    backend = "other"


class Named(ResumableChatView):
    name = "support"

    def get_stream_name(self, request: HttpRequest, chat_id: str) -> str:
        return f"named/{chat_id}"


def mounted(view: type[ResumableChatView], namespace: str, prefix: str = "", extras: Any = None) -> Any:
    return path(prefix or namespace, include(view.urls(), namespace=namespace), extras)


def urlconf(*patterns: Any) -> ModuleType:
    module = ModuleType("urlconf")
    module.urlpatterns = [*patterns]  # type: ignore[attr-defined]
    return module


def found(*patterns: Any) -> list[str]:
    with override_settings(ROOT_URLCONF=urlconf(*patterns)):
        messages = run_checks(tags=[checks.TAG])
    wanted = (checks.W007_SHARED_CHATS, checks.E006_CAPTURED_CHAT_ID)
    return [f"{message.id} {message.msg}" for message in messages if message.id in wanted]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(mounted(Copy, "b"), id="another view of the same name"),
        pytest.param(mounted(Support, "b"), id="the same view"),
        pytest.param(path("deep/", include([mounted(Support, "b")])), id="below another include"),
    ],
)
def test_mounts_that_share_chats_are_found(second: Any) -> None:
    (message,) = found(mounted(Support, "a"), second)

    assert message.startswith(checks.W007_SHARED_CHATS)
    assert "Support at '/a'" in message


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(mounted(Sales, "b"), id="another name"),
        pytest.param(mounted(Elsewhere, "b"), id="another log"),
        pytest.param(mounted(Named, "b"), id="names of the app's own"),
        pytest.param(mounted(Support, "b", "p/<int:project_id>/chat"), id="a captured parameter"),
        pytest.param(mounted(Support, "b", "", {"kind": "other"}), id="a parameter that the URLconf adds"),
    ],
)
def test_mounts_that_share_nothing_are_left_alone(second: Any) -> None:
    assert found(mounted(Support, "a"), second) == []


def test_a_prefix_that_captures_the_id_of_a_chat_is_found() -> None:
    (message,) = found(mounted(Support, "a", "<slug:chat_id>/chat"))

    assert message.startswith(checks.E006_CAPTURED_CHAT_ID)


def test_each_place_counts_once() -> None:
    with override_settings(ROOT_URLCONF=urlconf(mounted(Support, "a", "<int:x>/a", {"y": 1}))):
        (mount,) = mounts()

    assert (mount.path, mount.captured, mount.extras) == ("/<int:x>/a", {"x"}, (("y", "1"),))
