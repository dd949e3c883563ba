"""Why a model has stopped, in the words that providers and libraries have for it."""

from __future__ import annotations

from typing import Any

from ...types import FinishReason
from ..item_types import Finish, Item

_REASONS: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed"), "stop"),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool-calls"),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length", "max_length"), "length"),
    **dict.fromkeys(("model_context_window_exceeded", "context_length"), "length"),
    **dict.fromkeys(("content_filter", "content_filtered", "refusal", "guardrail_intervened"), "content-filter"),
    **dict.fromkeys(("safety", "recitation", "blocklist", "prohibited_content", "spii"), "content-filter"),
}


def finish_reason(reason: str) -> FinishReason:
    """Translate a word of a provider, a library or a client."""
    return _REASONS.get(reason.lower().replace("-", "_"), "other")


def named_finish(reason: Any) -> Finish | None:
    """Make the end that a word stands for; ``None`` if it is none."""
    return Finish(finish_reason(reason)) if isinstance(reason, str) and reason else None


def finish(reason: Any) -> list[Item]:
    """Make the end of one call of a model, unless nothing is said of it."""
    found = named_finish(reason)
    return [found] if found is not None else []
