"""What the manual promises of the plugin."""

from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import pytest_asyncio
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from support.models import Answer

from resumable_stream.backends import backends
from resumable_stream.testing.app import ChatKit

QUESTION = {"id": "c1", "message": "Hello"}
JSON = {"content_type": "application/json"}


def test_chat_without_a_database(client):
    assert client.get("/endless/c1/messages").status_code in (200, 404)


@pytest.mark.parametrize("prefix", ["/async", "/sync"])
def test_answer_in_the_transaction(client, chat_kit, db, prefix):
    Answer.objects.create(chat_id="c0", message_id="m0", reason="finished", message={})
    assert connection.in_atomic_block
    assert b"1 answers" in b"".join(client.post(prefix, QUESTION, **JSON).streaming_content)
    chat_kit.finish()
    assert Answer.objects.count() == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("prefix", ["/async", "/sync"])
async def test_answer_of_an_asynchronous_test_in_the_transaction(async_client, chat_kit, db, prefix):
    await Answer.objects.acreate(chat_id="c0", message_id="m0", reason="finished", message={})
    response = await async_client.post(prefix, QUESTION, **JSON)
    assert b"1 answers" in b"".join([block async for block in response.streaming_content])
    await chat_kit.afinish()
    assert await Answer.objects.acount() == 2


@pytest_asyncio.fixture
async def earlier(db):
    return await Answer.objects.acreate(chat_id="c0", message_id="m0", reason="finished", message={})


@pytest.mark.asyncio
async def test_asynchronous_fixture_writes_in_the_transaction(earlier, async_client):
    response = await async_client.post("/async", QUESTION, **JSON)
    assert b"1 answers" in b"".join([block async for block in response.streaming_content])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_answer_of_a_test_that_anyio_runs(async_client, chat_kit, db, anyio_backend):
    response = await async_client.post("/async", QUESTION, **JSON)
    assert b"0 answers" in b"".join([block async for block in response.streaming_content])
    await chat_kit.afinish()
    assert await Answer.objects.acount() == 1


@pytest.mark.asyncio
async def test_answer_without_a_transaction(async_client, chat_kit, transactional_db):
    response = await async_client.post("/replayed", QUESTION, **JSON)
    assert response.status_code == 202
    await chat_kit.afinish()
    messages = (await async_client.get("/replayed/c1/messages")).json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert await Answer.objects.acount() == 1


def test_answer_of_a_synchronous_test_without_a_transaction(client, chat_kit, transactional_db):
    client.post("/async", QUESTION, **JSON)
    chat_kit.finish()
    assert Answer.objects.count() == 1


def test_client_that_goes_away_closes_no_transaction(client, chat_kit, db):
    response = client.post("/endless", QUESTION, **JSON)
    assert next(iter(response.streaming_content))
    response.close()
    assert Answer.objects.count() == 0
    client.post("/endless/c1/stop")
    chat_kit.finish()
    assert Answer.objects.get().reason == "stopped"


@pytest.mark.asyncio
async def test_asynchronous_client_that_goes_away_closes_no_transaction(async_client, chat_kit, db):
    response = await async_client.post("/endless", QUESTION, **JSON)
    assert await anext(aiter(response.streaming_content))
    response.close()
    assert await Answer.objects.acount() == 0
    await async_client.post("/endless/c1/stop")
    await chat_kit.afinish()
    assert (await Answer.objects.aget()).reason == "stopped"


def test_forms_files_and_missing_pages_are_as_with_the_usual_client(client, db):
    assert client.post("/count", {"word": "é"}).wsgi_request.POST["word"] == "é"
    sent = client.post("/count", {"file": SimpleUploadedFile("words.txt", b"words")})
    assert sent.wsgi_request.FILES["file"].size == 5
    assert client.get("/nowhere").status_code == 404


def test_live_server_of_django_refuses_chats(live_server, transactional_db, chat_kit, caplog):
    with pytest.raises(HTTPError, match="500"):
        urlopen(f"{live_server.url}/async/c1/messages")
    assert "needs an ASGI server" in caplog.text


def test_nothing_is_left_of_the_others(client, db):
    assert Answer.objects.count() == 0
    assert client.get("/async/c1/messages").json()["messages"] == []


@pytest.fixture
def chat_log():
    return "sqlite"


def test_log_of_this_module_is_a_file(client, chat_kit, db):
    b"".join(client.post("/async", QUESTION, **JSON).streaming_content)
    chat_kit.finish()
    assert backends["default"].path.stat().st_size > 0


@pytest.fixture
def no_grace(monkeypatch):
    monkeypatch.setattr(ChatKit, "grace_seconds", 0.01)


def test_leaves_an_answer_running(client, db, no_grace):
    client.post("/endless", QUESTION, **JSON)


@pytest.mark.asyncio
async def test_leaves_an_answer_running_asynchronously(async_client, db, no_grace):
    await async_client.post("/endless", QUESTION, **JSON)
