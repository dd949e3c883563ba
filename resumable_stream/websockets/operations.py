"""What a socket can be asked for, each request by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from django.http import HttpRequest

from ..chat.hooks import ChatHooks
from ..chat.start_request import Start as Started
from ..error_texts import UNAVAILABLE_TEXT, error_text
from ..exceptions import GenerationActiveError, LimitExceededError, ResumableStreamError, ShuttingDownError
from ..generations.arrivals import Arrival
from ..runtime import runtime
from ..utils.threads import own_thread
from .permissions import Granted, Permissions
from .sender import Sender, SocketGoneError
from .subprotocols.base import SHUTDOWN, Failure, SocketDialect, Start, Stop, Subscribe, SubscriptionEnd
from .subscription import Subscription

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


class Operations:
    """Follows, starts and stops for the client of one socket, as far as it has the right to."""

    def __init__(self, hooks: ChatHooks, request: HttpRequest, dialect: SocketDialect, sender: Sender) -> None:
        self.rights = Permissions(hooks, request)
        self._clock = asyncio.get_running_loop().time
        self._quiet_until = 0.0
        self._hooks = hooks
        self._request = request
        self._chat = hooks.chat
        self._dialect = dialect
        self._sender = sender

    def subscription(self, command: Subscribe | Start) -> Subscription:
        """Make a subscription, to be filled by :meth:`follow` or :meth:`start_and_follow`."""
        return Subscription(command.key, command.chat_id, sender=self._sender, dialect=self._dialect, chat=self._chat)

    def refuse(self, key: str | None, failure: Failure, *, is_logged: bool = False) -> None:
        """Tell the client what went wrong."""
        if is_logged:
            # Over HTTP, Django logs each answer of this kind.
            logger.warning("request over a websocket refused status=%s key=%r: %s", failure.status, key, failure.text)
        self._sender.reply(self._dialect.failed(key, failure))

    def refuse_too_much(self, action: str, key: str, text: str) -> None:
        """Refuse what the socket has too much of. Log and app hear of it at most once a second."""
        error = LimitExceededError(text)
        is_news = self._clock() >= self._quiet_until
        self.refuse(key, Failure(status=error.status_code, text=text), is_logged=is_news)
        if is_news:
            self._quiet_until = self._clock() + 1
            runtime().registry.keep(self.tell_refused(action, error))

    async def tell_refused(self, action: str, error: ResumableStreamError) -> None:
        """Tell the app if it is a limit that refuses the client."""
        async with own_thread():
            await self._hooks.tell_refused(self._request, action, error)

    async def guard(self, action: str, key: str, work: Work[T]) -> T | None:
        """Do ``work``, for ``action``; where it fails the client is told, and the socket's other streams go on."""
        try:
            return await work()
        except ResumableStreamError as error:
            generation_id = error.generation_id if isinstance(error, GenerationActiveError) else None
            failure = Failure(status=error.status_code, text=error_text(error), generation_id=generation_id)
            await self.tell_refused(action, error)
            self.refuse(key, failure, is_logged=True)
        except SocketGoneError:
            pass
        except Exception:  # an app's hook
            logger.exception("request over a websocket failed key=%r", key)
            self.refuse(key, Failure(status=HTTPStatus.INTERNAL_SERVER_ERROR, text=UNAVAILABLE_TEXT))
        return None

    async def follow(self, subscription: Subscription, command: Subscribe) -> SubscriptionEnd:
        """Follow a chat to its end."""
        try:
            if not command.chat_id and command.run_id is not None:
                subscription.chat_id = await self.rights.chat_of_run(command.run_id)
            stream_name, place = await self.rights.to_read(subscription.chat_id)
        except ShuttingDownError:
            return SubscriptionEnd(reason=SHUTDOWN, cursor=command.cursor)
        try:
            return await subscription.follow(
                stream_name,
                run_id=command.run_id,
                cursor=command.cursor,
                is_live=command.is_live,
                resumes=command.resumes,
            )
        finally:
            place.release()

    async def start_and_follow(self, subscription: Subscription, command: Start, arrival: Arrival) -> SubscriptionEnd:
        """Start a generation and follow it to its end."""
        with runtime().arrivals.starting(arrival):
            granted = await self.rights.to_start(command, arrival, is_followed=True)
            started = await self._begin(granted)
        try:
            await self._tell_started(command, started)
            reader = self._chat.reader(granted.stream_name, started)
            return await subscription.follow(granted.stream_name, reader=reader)
        finally:
            granted.place.release()

    async def start(self, command: Start, arrival: Arrival) -> Started:
        """Start a generation that is followed by other means, so that nobody wants to see its chunks early."""
        with runtime().arrivals.starting(arrival):
            granted = await self.rights.to_start(command, arrival, is_followed=False)
            started = await self._begin(granted)
        try:
            await self._tell_started(command, started)
            return started
        finally:
            granted.place.release()

    async def stop(self, command: Stop, arrival: Arrival) -> None:
        """Stop what runs, and what was to run when the stop came."""
        stream_name = await self.rights.to_stop(command.chat_id)
        stopped = await self._chat.end(stream_name, command.generation_id, arrival=arrival)
        self._sender.reply(self._dialect.stopping(command.key, stopped))

    async def _begin(self, granted: Granted) -> Started:
        try:
            return await self._chat.start_from(granted.stream_name, granted.request)
        except BaseException:
            granted.place.release()
            raise

    async def _tell_started(self, command: Start, started: Started) -> None:
        await self._sender.send(self._dialect.started(command.key, started.generation_id, started.cursor))
