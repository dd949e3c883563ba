"""Anthropic's raw message events, for the parser of the TypeScript SDK."""

from .format import AnthropicFormat

__all__ = ["AnthropicFormat"]
