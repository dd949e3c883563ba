"""Formats by name: what ``generate`` yields becomes the chunks of one client library, and chunks become messages.

May import ``types``, ``exceptions`` and ``utils``. Each folder is one client's format; ``producers`` reads model
libraries' streams for all of them.
"""

from __future__ import annotations

from inspect import isabstract

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..types import EndReason, Message
from .base import ChatRequest, ChunkEncoder, ChunkFormat, GenerationFacts, StoredGeneration
from .encoded import Encoded

__all__ = [
    "ChatRequest",
    "ChunkEncoder",
    "ChunkFormat",
    "Encoded",
    "EndReason",
    "GenerationFacts",
    "Message",
    "StoredGeneration",
    "get_format",
]

# Dotted paths, so that a project loads the formats it uses and no others.
_FORMATS = {
    "agui": "resumable_stream.formats.agui.AGUIFormat",
    "aisdk": "resumable_stream.formats.aisdk.AISDKFormat",
    "anthropic": "resumable_stream.formats.anthropic.AnthropicFormat",
    "html": "resumable_stream.formats.html.HTMLFormat",
    "tanstack": "resumable_stream.formats.tanstack.TanStackFormat",
    "text": "resumable_stream.formats.text.TextFormat",
}
# Known by name, since whoever ends another's generation looks its format up, but none for a view.
_INTERNAL_FORMATS = {"strings": "resumable_stream.formats.strings.StringsFormat"}


def get_format(chosen: str | ChunkFormat | type[ChunkFormat]) -> ChunkFormat:
    """Return the format that a view's ``format`` names: a name, a dotted path, a class or an instance.

    Raises:
        ImproperlyConfigured: There is no such format.
    """
    found = _load(chosen) if isinstance(chosen, str) else chosen
    if isinstance(found, type) and issubclass(found, ChunkFormat) and not isabstract(found):
        found = found()
    if isinstance(found, ChunkFormat):
        return found
    raise ImproperlyConfigured(f"{chosen!r} is no ChunkFormat that can be used. {_choices()}")


def _load(name: str) -> object:
    path = _FORMATS.get(name) or _INTERNAL_FORMATS.get(name, name)
    if "." not in path:
        raise ImproperlyConfigured(f"There is no format {name!r}. {_choices()}")
    try:
        return import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"The format {name!r} cannot be imported: {error} {_choices()}") from error


def _choices() -> str:
    return f"Choose {', '.join(map(repr, _FORMATS))}, or give a ChunkFormat class or its dotted path."
