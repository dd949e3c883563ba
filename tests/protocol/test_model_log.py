"""The model log answers as a real log does; all that the other tests here show rests on that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.backends.memory import MemoryBackend
from resumable_stream.exceptions import ResumableStreamError
from resumable_stream.protocol.effects import Append, Effect, Read, Tail
from resumable_stream.records import MAX_BATCH_BYTES, AppendAck, ReadBatch, Record, StreamTail

from .model_log import Log, perform

NAME = "model"
FIRST = Append([Record("first")], None, None)

tokens = st.sampled_from(["", "a", "b"])
records = st.one_of(
    st.sampled_from(["1", "", "x" * (MAX_BATCH_BYTES // 3)]).map(Record),
    tokens.map(Record.fence),
    st.integers(0, 9).map(Record.trim),
)
effects = st.one_of(
    st.builds(Append, st.lists(records, min_size=1, max_size=3), st.none() | tokens, st.none() | st.integers(0, 9)),
    st.builds(Read, st.integers(0, 9), st.integers(1, 4)),
    st.builds(Tail, st.integers(0, 3)),
)


@given(st.lists(effects, max_size=12))
async def test_the_model_answers_as_the_log_in_memory_does(asked: list[Effect]) -> None:
    log, backend = Log(), MemoryBackend("default", {})
    for effect in [FIRST, *asked]:
        try:
            log, answer = perform(log, effect)
        except ResumableStreamError as error:
            expected: object = described(error)
        else:
            expected = described(answer)
        assert await ask(backend, effect) == expected


async def ask(backend: MemoryBackend, effect: Effect) -> object:
    try:
        match effect:
            case Append(records, fencing_token, match_seq_num):
                return described(
                    await backend.append(NAME, records, fencing_token=fencing_token, match_seq_num=match_seq_num)
                )
            case Read(start, limit):
                return described(await backend.read(NAME, start, limit))
            case Tail(last):
                return described(await backend.tail(NAME, last=last))
    except ResumableStreamError as error:
        return described(error)


def described(answer: AppendAck | ReadBatch | StreamTail | ResumableStreamError) -> object:
    """Make answers comparable: without times, which the model does not keep."""
    match answer:
        case ResumableStreamError():
            return type(answer), vars(answer)
        case AppendAck():
            return answer
        case ReadBatch():
            return [record._replace(timestamp=0) for record in answer.records]
        case StreamTail():
            return answer.seq_num, [record._replace(timestamp=0) for record in answer.records]


async def test_a_stream_that_does_not_exist_is_told_alike() -> None:
    for effect in (Read(0, 1), Tail(2)):
        assert (await ask(MemoryBackend("default", {}), effect)) == (type(missing(effect)), vars(missing(effect)))


def missing(effect: Effect) -> ResumableStreamError:
    try:
        perform(Log(), effect)
    except ResumableStreamError as error:
        return error
    raise AssertionError("A stream that was never written to does not exist.")
