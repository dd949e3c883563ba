"""A project on PostgreSQL, in a process of its own: plays scenarios and prints what came of each.

``python -m tests.support.postgres_project '[["scenario", "view"], …]' '{DATABASES["default"]}'``
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings

DATABASE = json.loads(sys.argv[2])

settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["testserver"],
    USE_TZ=True,
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "resumable_stream"],
    MIDDLEWARE=[],
    DATABASES={"default": DATABASE, "admin": {**DATABASE, "OPTIONS": {}}},
    MIGRATION_MODULES=dict.fromkeys(("contenttypes", "auth")),
    RESUMABLE_STREAM={
        "BACKENDS": {"default": {"BACKEND": "resumable_stream.backends.memory.MemoryBackend", "OPTIONS": {}}},
        "HANDLE_SIGNALS": False,
        "MAX_GENERATIONS_PER_OWNER": None,
    },
)
django.setup()

from django.contrib.auth.models import Group  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections, transaction  # noqa: E402
from django.urls import include, path  # noqa: E402

from resumable_stream import ResumableChatView  # noqa: E402
from resumable_stream.runtime import runtime  # noqa: E402

from .patience import PATIENCE_SECONDS  # noqa: E402
from .visitors import Visitor  # noqa: E402

ANSWERS = 12
LONGER_THAN_IDLE = 0.6

gate = threading.Event()
"""The model answers."""
hung = threading.Event()
"""The provider's call returns at last."""
saved = asyncio.Event()
"""The answer is in the database."""


async def model() -> None:
    assert await asyncio.to_thread(gate.wait, PATIENCE_SECONDS)


class Chat(ResumableChatView):
    format = "text"

    def get_owner(self, request: Any) -> str:
        return "ann"

    async def on_end(self, turn: Any, end: Any) -> None:
        await Group.objects.acreate(name=f"{turn.chat_id} {end.reason.value}")


class AsyncChat(Chat):
    async def generate(self, turn: Any) -> Any:
        yield str(await Group.objects.acount())
        await model()
        yield "done"


class SyncChat(Chat):
    def generate(self, turn: Any) -> Iterator[str]:
        yield str(Group.objects.count())
        assert gate.wait(PATIENCE_SECONDS)
        yield "done"

    def on_end(self, turn: Any, end: Any) -> None:  # type: ignore[override]
        Group.objects.create(name=f"{turn.chat_id} {end.reason.value}")


class FailingChat(AsyncChat):
    async def generate(self, turn: Any) -> Any:
        yield str(await Group.objects.acount())
        await model()
        raise ValueError

    def on_error(self, turn: Any, error: Exception) -> str:
        return f"{Group.objects.count()} groups"


class AtomicChat(Chat):
    def generate(self, turn: Any) -> Iterator[str]:
        with transaction.atomic():
            Group.objects.create(name="first")
            yield "one"
            threading.Event().wait(LONGER_THAN_IDLE)
            yield str(Group.objects.filter(name="first").count())


class RowsChat(Chat):
    async def generate(self, turn: Any) -> Any:
        async for group in Group.objects.order_by("name").aiterator(chunk_size=1):
            yield group.name
            await asyncio.sleep(LONGER_THAN_IDLE)


class SyncRowsChat(Chat):
    def generate(self, turn: Any) -> Iterator[str]:
        for group in Group.objects.order_by("name").iterator(chunk_size=1):
            yield group.name


class HungChat(Chat):
    def generate(self, turn: Any) -> Iterator[str]:
        yield str(Group.objects.count())
        hung.wait()
        yield "too late"

    async def on_end(self, turn: Any, end: Any) -> None:
        await super().on_end(turn, end)
        saved.set()


urlpatterns = [
    path(f"{view.__name__}", include(view.urls()))
    for view in (AsyncChat, SyncChat, FailingChat, AtomicChat, RowsChat, SyncRowsChat, HungChat)
]


async def ask(view: str, chat_id: str, part: bytes = b"") -> Any:
    exchange = Visitor(csrf=False).begin("POST", f"/{view}", {"id": chat_id, "message": "Hi"})
    return await exchange.until(lambda it: part in it.body) if part else await exchange.done()


def texts(exchange: Any) -> list[Any]:
    return [json.loads(event.data) for event in exchange.events if event.type == "message"]


def admin(sql: str) -> list[Any]:
    with connections["admin"].cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


async def until_nobody_is_connected(most: int = 0) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(await sync_to_async(admin)(f"SELECT pid {OTHERS}")) > most:  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(await sync_to_async(admin)(f"SELECT state, query {OTHERS}")) from None


async def groups() -> list[str]:
    names = [group.name async for group in Group.objects.order_by("name")]
    await sync_to_async(close)()
    return names


def close() -> None:
    connections["default"].close()


async def ended() -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while runtime().registry._tasks:
            await asyncio.wait(runtime().registry._tasks)


async def silent_answers(view: str) -> dict[str, Any]:
    """More answers than connections wait for the model; the site works meanwhile."""
    begun = await asyncio.gather(*(ask(view, f"c{index}", b'"0"') for index in range(ANSWERS)))
    if "pool" not in DATABASE.get("OPTIONS", {}):
        await until_nobody_is_connected()
    async with asyncio.timeout(PATIENCE_SECONDS):
        meanwhile = await groups()
    gate.set()
    await asyncio.gather(*(exchange.done() for exchange in begun))
    await ended()
    return {"meanwhile": meanwhile, "saved": await groups(), "texts": [texts(exchange) for exchange in begun]}


async def quick_answers(view: str) -> dict[str, Any]:
    """The end of an answer comes while the connection is still in use."""
    gate.set()
    begun = await asyncio.gather(*(ask(view, f"quick{index}") for index in range(ANSWERS)))
    await ended()
    return {"texts": [texts(exchange) for exchange in begun]}


async def closed_by_the_server(view: str) -> dict[str, Any]:
    """The server closes all connections while the model thinks."""
    begun = await ask(view, "c", b'"0"')
    await sync_to_async(admin)(f"SELECT pg_terminate_backend(pid) {OTHERS}")
    gate.set()
    await begun.done()
    await ended()
    return {"saved": await groups(), "events": [[event.type, event.data] for event in begun.events]}


async def kept_open(view: str) -> dict[str, Any]:
    """What has begun, a transaction or reading rows one by one, goes on however long it takes."""
    await sync_to_async(Group.objects.bulk_create)([Group(name="a"), Group(name="b"), Group(name="c")])
    await sync_to_async(close)()
    exchange = await ask(view, "c")
    await ended()
    return {"texts": texts(exchange), "saved": await groups()}


async def hung_provider(view: str) -> dict[str, Any]:
    """A stopped answer is saved although its generator hangs in a call."""
    begun = await ask(view, "c", b'"0"')
    stopped = await Visitor(csrf=False).post(f"/{view}/c/stop")
    await begun.done()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await saved.wait()
    names = await groups()
    hung.set()
    await ended()
    return {"status": stopped.status, "saved": names}


async def main(scenarios: list[list[str]]) -> dict[str, Any]:
    told = {}
    for scenario, view in scenarios:
        gate.clear()
        result: dict[str, Any] = await globals()[scenario](view)
        told[f"{scenario} {view}"] = result
        await until_nobody_is_connected(DATABASE.get("OPTIONS", {}).get("pool", {}).get("max_size", 0))
        result["threads"] = sum(thread.name.startswith("resumable_stream") for thread in threading.enumerate())
        await Group.objects.all().adelete()
        await sync_to_async(close)()
    await sync_to_async(connections.close_all)()
    return told


if __name__ == "__main__":
    call_command("migrate", run_syncdb=True, verbosity=0)
    connections.close_all()
    played = asyncio.run(main(json.loads(sys.argv[1])))
    sys.stdout.write(json.dumps(played))
