"""What the manual promises of the mixin, with ``manage.py test``."""

from __future__ import annotations

import pickle
import unittest
from unittest import mock

from channels.auth import AuthMiddlewareStack
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, TestCase, TransactionTestCase
from support.models import Answer

from resumable_stream.backends import backends
from resumable_stream.consumers import StreamConsumer
from resumable_stream.testing.app import ChatClient, ChatKit, ChatTestMixin

from .views import SyncChat

QUESTION = {"id": "c1", "message": "Hello"}


class Asking(ChatTestMixin):
    def ask(self, prefix, body=QUESTION):
        return self.client.post(prefix, body, content_type="application/json")

    async def aask(self, prefix, body=QUESTION):
        return await self.async_client.post(prefix, body, content_type="application/json")


class InTransaction(Asking, TestCase):
    def test_generate_sees_the_transaction_and_on_end_writes_in_it(self):
        Answer.objects.create(chat_id="c0", message_id="m0", reason="finished", message={})
        for prefix in ("/async", "/sync"):
            count = Answer.objects.count()
            body = b"".join(self.ask(prefix).streaming_content)
            self.chat_kit.finish()
            self.assertIn(b"%d answers" % count, body)
            self.assertEqual(Answer.objects.filter(reason="finished").count(), count + 1)

    async def test_asynchronous_test_sees_the_transaction(self):
        await Answer.objects.acreate(chat_id="c0", message_id="m0", reason="finished", message={})
        for count, prefix in enumerate(("/async", "/sync"), 1):
            response = await self.aask(prefix)
            body = b"".join([block async for block in response.streaming_content])
            await self.chat_kit.afinish()
            self.assertIn(b"%d answers" % count, body)
            self.assertEqual(await Answer.objects.acount(), count + 1)

    def test_chat_of_the_same_id_is_empty_in_each_test(self):
        self.assertEqual(self.client.get("/async/c1/messages").json()["messages"], [])
        b"".join(self.ask("/async").streaming_content)
        self.assertEqual(len(self.client.get("/async/c1/messages").json()["messages"]), 2)

    test_chat_of_the_same_id_is_empty_in_another_test = test_chat_of_the_same_id_is_empty_in_each_test

    def test_answer_runs_on_after_its_request_and_is_read_by_another(self):
        self.assertEqual(self.ask("/replayed").status_code, 202)
        self.chat_kit.finish()
        self.assertEqual(len(self.client.get("/replayed/c1/messages").json()["messages"]), 2)

    def test_answer_is_replayed_while_it_is_written(self):
        response = self.ask("/endless")
        seen = b""
        blocks = iter(response.streaming_content)
        while b"one" not in seen:
            seen += next(blocks)
        again = iter(self.client.get("/endless/c1/stream").streaming_content)
        replayed = b""
        while b"one" not in replayed:
            replayed += next(again)
        self.assertEqual(self.client.post("/endless/c1/stop").status_code, 202)
        rest = b"".join(blocks)
        self.chat_kit.finish()
        self.assertIn(b"stopped", rest)
        self.assertEqual(Answer.objects.get().reason, "stopped")
        response.close()

    async def test_answer_is_stopped_by_an_asynchronous_test(self):
        response = await self.aask("/endless")
        seen = b""
        async for block in response.streaming_content:
            seen += block
            if b"one" in block:
                await self.async_client.post("/endless/c1/stop")
        await self.chat_kit.afinish()
        self.assertIn(b"stopped", seen)
        self.assertEqual((await Answer.objects.aget()).reason, "stopped")

    def test_failed_answer_has_the_words_of_a_hook_that_asks_the_database(self):
        with self.assertLogs("resumable_stream", "ERROR"):
            body = b"".join(self.ask("/failing").streaming_content)
            self.chat_kit.finish()
        self.assertIn(b"0 answers, and an error", body)
        self.assertEqual(Answer.objects.get().reason, "failed")

    def test_plain_views_sessions_and_logins_work_as_with_the_usual_client(self):
        self.client.force_login(User.objects.create_user("ann"))
        b"".join(self.ask("/async").streaming_content)
        self.chat_kit.finish()
        response = self.client.get("/count", {"q": "é"}, headers={"X-Word": "here"})
        self.assertEqual(response.text, "1 é here")
        self.assertEqual(response.resolver_match.view_name, "scenarios.urls.count")
        self.assertEqual(ChatClient().get("/async/c1/messages").json()["messages"], [])

    def test_usual_client_says_that_chats_need_asgi(self):
        with self.assertRaisesMessage(Exception, "ASGI"):
            Client().post("/async", QUESTION, content_type="application/json")

    async def test_test_can_be_sent_to_another_process(self):
        self.assertIsInstance(pickle.loads(pickle.dumps(self)), InTransaction)

    def test_settings_are_changed_for_a_while(self):
        with self.chat_kit.settings(MAX_GENERATIONS_PER_OWNER=1):
            self.assertEqual(self.ask("/endless").status_code, 200)
            self.assertEqual(self.ask("/endless", {**QUESTION, "id": "c2"}).status_code, 429)
            self.client.post("/endless/c1/stop")
            self.chat_kit.finish()

    async def test_synchronous_client_in_an_asynchronous_test_says_what_to_use(self):
        with self.assertRaisesMessage(RuntimeError, "await the asynchronous client"):
            self.client.get("/count")

    async def test_websocket_of_a_chat(self):
        await Answer.objects.acreate(chat_id="c0", message_id="m0", reason="finished", message={})
        user = await User.objects.acreate(username="ann")
        await self.async_client.aforce_login(user)
        cookie = f"sessionid={self.async_client.cookies['sessionid'].value}".encode()
        application = AuthMiddlewareStack(StreamConsumer.as_asgi(view=SyncChat))
        socket = WebsocketCommunicator(application, "/socket", headers=[(b"cookie", cookie)])
        self.assertTrue((await socket.connect())[0])
        await socket.send_json_to({"type": "start", "stream": "c1", "body": QUESTION})
        frames = [await socket.receive_json_from()]
        while frames[-1]["type"] != "end":
            frames.append(await socket.receive_json_from())
        await socket.disconnect()
        await self.chat_kit.afinish()
        self.assertIn("1 answers", str(frames))
        self.assertEqual(await Answer.objects.filter(reason="finished").acount(), 2)
        messages = (await self.async_client.get("/sync/c1/messages")).json()["messages"]
        self.assertEqual(len(messages), 2)

    def test_answer_that_nobody_waits_for_may_end_after_the_test(self):
        self.ask("/async")

    def test_answers_that_do_not_end_are_named(self):
        self.ask("/endless")
        with self.assertRaisesMessage(AssertionError, "/c1'"):
            self.chat_kit.finish(within=0.01)
        self.client.post("/endless/c1/stop")


class WithoutTransaction(Asking, TransactionTestCase):
    """Each of its tests empties the database, which takes its time."""

    def test_synchronous_test_finds_what_an_answer_has_saved(self):
        self.assertFalse(connection.in_atomic_block)
        b"".join(self.ask("/sync").streaming_content)
        self.chat_kit.finish()
        self.assertEqual(Answer.objects.get().reason, "finished")

    async def test_asynchronous_test_finds_what_an_answer_has_saved(self):
        response = await self.aask("/async")
        body = b"".join([block async for block in response.streaming_content])
        await self.chat_kit.afinish()
        self.assertIn(b"0 answers", body)
        self.assertEqual((await Answer.objects.aget()).reason, "finished")


class OnSQLite(InTransaction):
    chat_log = "sqlite"

    def test_log_is_a_file(self):
        b"".join(self.ask("/async").streaming_content)
        self.assertGreater(backends["default"].path.stat().st_size, 0)


class OutsideOfTestsTests(TestCase):
    def test_client_without_a_kit_says_what_is_missing(self):
        with self.assertRaisesMessage(RuntimeError, "add ChatTestMixin"):
            ChatClient().get("/count")


class Left(ChatTestMixin, TestCase):
    """Run by the tests below."""

    def run(self, result=None):
        with mock.patch.object(ChatKit, "grace_seconds", 0.01):
            return super().run(result)

    def leave_one(self):
        self.client.post("/endless", QUESTION, content_type="application/json")

    async def leave_one_in_an_asynchronous_test(self):
        await self.async_client.post("/endless", QUESTION, content_type="application/json")

    def fail_first(self):
        self.leave_one()
        self.fail("of itself")


class LeavingTests(TestCase):
    def test_test_that_leaves_an_answer_running_fails_and_names_both(self):
        for name in ("leave_one", "leave_one_in_an_asynchronous_test"):
            result = unittest.TestResult()
            Left(name)(result)
            ((_, text),) = result.failures
            self.assertIn(f"scenarios.tests.Left.{name}: an answer was left running", text)
            self.assertIn("/c1'", text)
            self.assertEqual(result.errors, [])
            self.assertEqual(Answer.objects.count(), 0)

    def test_failure_of_the_test_itself_comes_first(self):
        result = unittest.TestResult()
        Left("fail_first")(result)
        self.assertIn("of itself", result.failures[0][1])


class LeakTests(TestCase):
    """Sorted behind the others of its kind, which have rolled back what they wrote."""

    def test_nothing_is_left_of_the_others(self):
        self.assertEqual((Answer.objects.count(), User.objects.count()), (0, 0))
