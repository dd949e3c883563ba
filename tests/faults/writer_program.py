"""A process that writes one endless generation to S2 and says on its output what its source does."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator

import django
from django.conf import settings as django_settings

from resumable_stream.chat.api import ResumableChat


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def source() -> AsyncGenerator[str, None]:
    number = 0
    try:
        while True:
            yield f"{number} "
            number += 1
            if number == 20:
                say("running")
            await asyncio.sleep(0.005)
    finally:
        say("closed")


async def main(stream: str) -> None:
    await ResumableChat(format="text").start(stream, source)
    await asyncio.Event().wait()


if __name__ == "__main__":
    django_settings.configure(RESUMABLE_STREAM=json.loads(sys.argv[2]))
    django.setup()
    asyncio.run(main(sys.argv[1]))
