"""Chats that the scenarios ask."""

import asyncio

from django.db import transaction
from support.models import Answer

from resumable_stream import ResumableChatView


class Saving(ResumableChatView):
    format = "text"

    async def on_end(self, turn, end):
        await Answer.objects.acreate(
            chat_id=turn.chat_id, message_id=turn.message_id, reason=end.reason.value, message=end.message
        )


class AsyncChat(Saving):
    async def generate(self, turn):
        yield f"{await Answer.objects.acount()} answers"


class SyncChat(Saving):
    def generate(self, turn):
        with transaction.atomic():
            yield f"{Answer.objects.count()} answers"

    def on_end(self, turn, end):
        Answer.objects.create(
            chat_id=turn.chat_id, message_id=turn.message_id, reason=end.reason.value, message=end.message
        )


class ReplayedChat(AsyncChat):
    delivery = "replay"


class EndlessChat(Saving):
    async def generate(self, turn):
        yield "one"
        await asyncio.Event().wait()


class FailingChat(Saving):
    async def generate(self, turn):
        yield "one"
        raise ValueError("no model")

    def on_error(self, turn, error):
        return f"{Answer.objects.count()} answers, and an error"
