"""The code that the manual shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def code_blocks(page: str, language: str) -> list[str]:
    """Return a page's blocks in a language, in their order."""
    text = (ROOT / page).read_text()
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return found


def run_python(page: str, *, prefix: str = "/api/chat", **given: Any) -> dict[str, Any]:
    """Run a page's Python, for chats at ``prefix``, and return its names; it finds those of ``given``."""
    names = {"__name__": page, **given}
    for block in code_blocks(page, "python"):
        exec(block.replace("/api/chat", prefix), names)
    return names


class UrlConf:
    """A URLconf for ``override_settings``."""

    def __init__(self, *patterns: Any) -> None:
        self.urlpatterns = list(patterns)
