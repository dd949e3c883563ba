from __future__ import annotations

import asyncio
import gc
import os
import threading

from resumable_stream.backends.s2.loop_local import LoopLocal


class Thing:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed_on: asyncio.AbstractEventLoop | None = None
        self.closed = asyncio.Event()

    async def close(self) -> None:
        self.closed_on = asyncio.get_running_loop()
        self.closed.set()


def things() -> LoopLocal[Thing]:
    return LoopLocal(Thing, Thing.close)


def test_a_loop_keeps_its_object_and_closes_it_at_its_end() -> None:
    local = things()

    async def main() -> Thing:
        first = await local.get()
        assert await local.get() is first
        assert first.closed_on is None
        return first

    first, second = asyncio.run(main()), asyncio.run(main())
    assert first is not second
    assert first.closed_on is first.loop
    assert second.closed_on is second.loop
    assert len(local) == 0


async def test_tasks_that_come_at_once_share_one_object() -> None:
    local = things()
    found = await asyncio.gather(*(local.get() for _ in range(10)))
    assert len(set(found)) == 1
    await local.close()


async def test_after_closing_the_next_use_makes_a_new_object() -> None:
    local = things()
    first = await local.get()
    await local.close()
    assert first.closed_on is not None
    assert await local.get() is not first
    await local.close()
    assert len(local) == 0


async def test_closing_reaches_the_loops_of_other_threads() -> None:
    local = things()
    opened: asyncio.Queue[Thing] = asyncio.Queue()
    here = asyncio.get_running_loop()
    ended = threading.Event()

    async def elsewhere() -> None:
        thing = await local.get()
        here.call_soon_threadsafe(opened.put_nowait, thing)
        await thing.closed.wait()
        ended.set()

    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    thing = await opened.get()
    await local.close()
    await asyncio.to_thread(thread.join)
    assert ended.is_set()
    assert thing.closed_on is thing.loop


def test_a_loop_that_was_closed_carelessly_is_forgotten_at_the_next_use() -> None:
    local = things()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(local.get())
    loop.close()
    assert len(local) == 1
    asyncio.run(local.get())
    assert len(local) == 0


def test_a_local_that_is_dropped_closes_its_object_while_the_loop_runs() -> None:
    async def main() -> Thing:
        local = things()
        thing = await local.get()
        del local
        gc.collect()
        await thing.closed.wait()
        return thing

    assert asyncio.run(main()).closed_on is not None


def test_a_forked_child_starts_afresh_and_leaves_its_parents_object_alone() -> None:
    local = things()
    loop = asyncio.new_event_loop()
    inherited = loop.run_until_complete(local.get())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:

        async def main() -> bytes:
            thing = await local.get()
            return b"fresh" if thing is not inherited and thing.loop is asyncio.get_running_loop() else b"shared"

        asyncio.set_event_loop(None)
        os.write(writer, asyncio.run(main()))
        os.write(writer, b"" if inherited.closed_on is None else b", closed")
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"fresh"
    os.close(reader)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert inherited.closed_on is loop
