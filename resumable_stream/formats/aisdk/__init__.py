"""The AI SDK's UI message stream, for ``useChat`` of the npm package ``ai`` in its versions 5, 6 and 7."""

from .format import AISDKFormat

__all__ = ["AISDKFormat"]
