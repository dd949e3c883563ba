"""One socket: what its client asks for, what runs for it, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from django.http import HttpRequest

from ..asgi import require_asgi
from ..chat.hooks import ChatHooks
from ..conf import settings
from ..error_texts import FORBIDDEN_TEXT, UNAVAILABLE_TEXT
from ..exceptions import InvalidRequestError, LimitExceededError, ServerBusyError, ShuttingDownError
from ..generations.arrivals import Arrival
from ..limits import Place
from ..records import utf8_length
from ..runtime import runtime
from ..utils.off_loop import SMALL_BYTES, off_loop
from ..validation import parse_object
from .operations import Operations, Work
from .permissions import RefusedError, RenewedError
from .sender import Sender
from .subprotocols.base import (
    FORBIDDEN,
    SHUTDOWN,
    UNAVAILABLE,
    Command,
    Failure,
    FrameRefusedError,
    Ping,
    SocketDialect,
    Start,
    Stop,
    Subscribe,
    SubscriptionEnd,
    Unsubscribe,
)
from .subscription import Subscription
from .tasks import Tasks

logger = logging.getLogger(__name__)

MAX_FAULTS = 20
"""Frames in a row that make no sense before the client is taken for something else."""
UNREAD_FRAMES = 2
"""How many frames of the largest size may wait for being parsed."""
FRAME_COST = 100
"""What a frame that waits counts for beside its text."""
MAX_OPERATIONS = 20
"""Starts and stops that may be under way at once, beside what is followed."""
TICK_SECONDS = 5.0
STALL_SECONDS = 5.0
"""How long a client may take nothing before what is on its way to it is dropped, to be read again later."""

CLOSE_IDLE = 1001
CLOSE_BINARY = 1003
CLOSE_NO_JSON = 1007
CLOSE_FAULTS = 1008
CLOSE_TOO_LARGE = 1009
CLOSE_SHUTDOWN = 1012
CLOSE_SESSION_ENDED = 4401


class Connection:
    """A socket between an accepted handshake and its end.

    :meth:`receive` never waits, so that whoever calls it always sees the client leave; what takes time runs in tasks of
    the connection, and :meth:`aclose` ends them all.
    """

    def __init__(
        self,
        *,
        hooks: ChatHooks,
        request: HttpRequest,
        dialect: SocketDialect,
        limit_key: str,
        send: Callable[[str], Awaitable[None]],
        close: Callable[[int], Awaitable[None]],
    ) -> None:
        self._limit_key = limit_key
        self._dialect = dialect
        self._request = request
        self._close_socket = close
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks()
        self._spawn = self._tasks.spawn
        self._subscriptions: dict[str, Subscription] = {}
        self._operations = 0
        self._sender = Sender(send, self._spawn)
        self._service = Operations(hooks, request, dialect, self._sender)
        self._unread: deque[str] = deque()
        self._unread_size = 0
        self._faults = 0
        self._is_closing = False
        self._is_leaving = False
        self._place: Place | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._check_at = self._loop.time() + settings.reauthorize_seconds
        self._last_heard = self._loop.time()

    # -- from outside --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin: do what the URL asks for, and look after the socket from now on."""
        require_asgi(self._request)
        try:
            self._place = runtime().socket_place(self._limit_key)
        except (ShuttingDownError, ServerBusyError, LimitExceededError) as error:
            logger.warning("websocket closed code=%s: %s", error.close_code, error)
            # What the socket's own tasks do ends with it.
            runtime().registry.keep(self._service.tell_refused("connect", error))
            self._shut(error.close_code)
            return
        runtime().departures.add(self._depart)
        self._tick()
        try:
            commands = self._dialect.opening(self._request.GET.dict())
        except FrameRefusedError as error:
            self._refuse(error)
            return
        for command in commands:
            self._obey(command)

    def receive(self, text: str | None) -> None:
        """Take a frame in; ``None`` for one that is not text."""
        self._last_heard = self._loop.time()
        if self._is_closing:
            return
        if text is None:
            self._shut(CLOSE_BINARY)
        elif len(text) * 4 > settings.max_frame_bytes and utf8_length(text) > settings.max_frame_bytes:
            self._shut(CLOSE_TOO_LARGE)
        elif len(text) > SMALL_BYTES or self._unread:
            self._read_later(text)
        else:
            self._read(self._parsed(text))
        if self._sender.is_overrun:
            self._shut(CLOSE_FAULTS)

    async def aclose(self) -> None:
        """Let go of everything; the client has gone, or is to go. Returns when nothing runs any more."""
        self._is_closing = True
        self._sender.abandon()
        self._forget()
        await self._tasks.aclose()

    # -- what the client says ------------------------------------------------------------------------------------

    def _read_later(self, text: str) -> None:
        """Queue a large frame, and those behind it: it is parsed in a thread."""
        self._unread.append(text)
        self._unread_size += len(text) + FRAME_COST
        if self._unread_size > UNREAD_FRAMES * settings.max_frame_bytes + FRAME_COST:
            self._shut(CLOSE_TOO_LARGE)
        elif len(self._unread) == 1:
            self._spawn(self._read_queued)

    async def _read_queued(self) -> None:
        while self._unread and not self._is_closing:
            text = self._unread[0]
            frame = await off_loop(len(text), self._parsed, text)
            self._unread.popleft()
            self._unread_size -= len(text) + FRAME_COST
            if not self._is_closing:
                self._read(frame)

    def _parsed(self, text: str) -> dict[str, Any] | None:
        try:
            return parse_object(text, "The frame")
        except InvalidRequestError:
            return None

    def _read(self, frame: dict[str, Any] | None) -> None:
        if frame is None:
            self._shut(CLOSE_NO_JSON)
            return
        try:
            command = self._dialect.read(frame)
        except FrameRefusedError as error:
            self._refuse(error)
        else:
            self._faults = 0
            self._obey(command)

    def _refuse(self, error: FrameRefusedError) -> None:
        self._faults += 1
        self._service.refuse(error.key, Failure(status=error.status_code, text=str(error)), is_logged=True)
        if self._faults >= MAX_FAULTS:
            self._shut(CLOSE_FAULTS)
        self._give_up_on(error.key)

    def _give_up_on(self, key: str | None) -> None:
        """Close the socket after a failure, if that is how its client hears of it."""
        code = self._dialect.refusal_code(key)
        if code is not None:
            self._shut(code)

    def _obey(self, command: Command) -> None:
        if isinstance(command, Ping):
            self._sender.reply(self._dialect.pong())
        elif isinstance(command, Unsubscribe):
            self._unsubscribe(command)
        elif isinstance(command, Subscribe):
            self._subscribe(command)
        elif self._operations >= MAX_OPERATIONS:
            action = "stop" if isinstance(command, Stop) else "start"
            self._service.refuse_too_much(action, command.key, "You ask for too much at once. Wait for an answer.")
        elif isinstance(command, Stop):
            self._stop(command)
        else:
            self._start(command)

    def _subscribe(self, command: Subscribe) -> None:
        previous = self._subscriptions.get(command.key)
        if previous is not None or not self._is_full("read", command.key):
            self._follow(command, previous)

    def _start(self, command: Start) -> None:
        arrival = runtime().arrivals.arrive(command.chat_id)
        previous = self._subscriptions.get(command.key)
        if previous is not None:
            # What is followed goes on until there is something else to follow.
            previous.starting = self._spawn(
                self._operate, "start", command.key, partial(self._start_beside, previous, command, arrival)
            )
        elif not self._is_full("start", command.key):
            subscription = self._add(command)
            subscription.arrival = arrival
            self._run("start", subscription, partial(self._service.start_and_follow, subscription, command, arrival))

    def _stop(self, command: Stop) -> None:
        followed = self._subscriptions.get(command.key)
        arrival = runtime().arrivals.arrive(command.chat_id)
        self._spawn(self._operate, "stop", command.key, partial(self._stop_after, followed, command, arrival))

    def _unsubscribe(self, command: Unsubscribe) -> None:
        subscription = self._subscriptions.pop(command.key, None)
        if subscription is not None:
            if command.stops_start and subscription.arrival is not None:
                subscription.arrival.is_stopped = True
            subscription.dismiss()
        self._spawn(self._tell_unsubscribed, command.key, subscription)

    def _is_full(self, action: str, key: str) -> bool:
        if len(self._subscriptions) < settings.max_subscriptions_per_socket:
            return False
        text = "This connection follows too many chats. Unsubscribe from one first."
        self._service.refuse_too_much(action, key, text)
        return True

    # -- what is done for it -------------------------------------------------------------------------------------

    def _add(self, command: Subscribe | Start) -> Subscription:
        found = self._service.subscription(command)
        self._subscriptions[command.key] = found
        return found

    def _run(self, action: str, subscription: Subscription, work: Work[SubscriptionEnd]) -> None:
        subscription.task = self._spawn(self._serve, action, subscription, work)

    async def _serve(self, action: str, subscription: Subscription, work: Work[SubscriptionEnd]) -> None:
        """See a subscription through, and tell its end."""
        try:
            end = await self._service.guard(action, subscription.key, work)
            if end is not None:
                await self._tell_end(subscription.key, end)
            else:
                self._give_up_on(subscription.key)
        finally:
            if self._subscriptions.get(subscription.key) is subscription:
                del self._subscriptions[subscription.key]
            self._leave_if_done()

    async def _operate(self, action: str, key: str, work: Work[None]) -> None:
        self._operations += 1
        try:
            await self._service.guard(action, key, work)
        finally:
            self._operations -= 1

    def _follow(self, command: Subscribe, previous: Subscription | None) -> None:
        """Follow, in place of ``previous``. This is dismissed at once: the task that waits for it may never run."""
        subscription = self._add(command)
        if previous is not None:
            previous.dismiss()
            subscription.starting = previous.starting
        self._run("read", subscription, partial(self._follow_after, previous, subscription, command))

    async def _follow_after(
        self, previous: Subscription | None, subscription: Subscription, command: Subscribe
    ) -> SubscriptionEnd:
        if previous is not None:
            await previous.has_gone()
        return await self._service.follow(subscription, command)

    async def _start_beside(self, previous: Subscription, command: Start, arrival: Arrival) -> None:
        """Start while the same stream is followed already, and follow from there unless that is done anyway."""
        started = await self._service.start(command, arrival)
        latest = self._subscriptions.get(command.key)
        if previous.is_dismissed or (latest is not None and latest.is_live):
            return
        self._follow(Subscribe(key=command.key, chat_id=command.chat_id, cursor=started.cursor), latest)

    async def _stop_after(self, followed: Subscription | None, command: Stop, arrival: Arrival) -> None:
        """Stop what has been started, and show what is stopped to who has asked to follow it."""
        if followed is not None:
            await followed.has_settled()
        await self._service.stop(command, arrival)

    async def _tell_unsubscribed(self, key: str, subscription: Subscription | None) -> None:
        if subscription is not None:
            await subscription.has_gone()
        self._sender.reply(self._dialect.unsubscribed(key))

    async def _tell_end(self, key: str, end: SubscriptionEnd) -> None:
        await self._sender.send(self._dialect.ended(key, end, is_last=True))
        code = self._dialect.close_code(key, end)
        if code is not None:
            self._shut(code)

    # -- what happens by itself ----------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Do what is due."""
        every = min(
            TICK_SECONDS, settings.keepalive_seconds, settings.reauthorize_seconds, settings.socket_idle_seconds
        )
        self._timer = self._loop.call_later(every, self._tick)
        now = self._loop.time()
        silent_for = now - self._sender.last_sent
        if self._sender.turn.locked():
            if silent_for >= STALL_SECONDS:
                for subscription in self._subscriptions.values():
                    subscription.let_go()
        elif silent_for >= settings.keepalive_seconds:
            self._sender.reply(self._dialect.keep_alive())
        if now >= self._check_at:
            self._check_at = math.inf
            self._spawn(self._check_rights)
        is_idle = not self._subscriptions and not self._operations
        if is_idle and now - self._last_heard >= settings.socket_idle_seconds:
            self._shut(CLOSE_IDLE)

    async def _check_rights(self) -> None:
        """Ask again whether the client may read what it reads; the next time is counted from the answer."""
        chats = {key: subscription.chat_id for key, subscription in self._subscriptions.items()}
        reason, code = FORBIDDEN, None
        try:
            refused = await self._service.rights.lost(chats)
        except RefusedError:
            refused, code = set(chats), CLOSE_SESSION_ENDED
        except RenewedError as error:
            reason = SHUTDOWN
            refused = {key for key, it in self._subscriptions.items() if it.is_live or not error.may_finish}
            self._is_leaving = True
        except Exception:  # an app's hook: who cannot be asked about is not trusted, but may come again
            logger.exception("rights over a websocket could not be checked")
            refused, reason = set(chats), UNAVAILABLE
        await self._dismiss(refused, reason)
        self._check_at = self._loop.time() + settings.reauthorize_seconds
        if code is not None:
            self._shut(code)
        self._leave_if_done()

    async def _dismiss(self, keys: set[str], reason: str) -> None:
        """End what is followed under ``keys``, all of it before anything is said of it."""
        dismissed = [self._subscriptions.pop(key) for key in keys if key in self._subscriptions]
        for subscription in dismissed:
            subscription.dismiss()
        text = {FORBIDDEN: FORBIDDEN_TEXT, UNAVAILABLE: UNAVAILABLE_TEXT}.get(reason, "")
        for subscription in dismissed:
            await subscription.has_gone()
            end = SubscriptionEnd(reason=reason, cursor=subscription.cursor, text=text)
            await self._tell_end(subscription.key, end)

    def _depart(self) -> None:
        """Leave once everything that is followed has had its rest: this process is about to end."""
        self._is_leaving = True
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._is_leaving and not self._subscriptions:
            self._shut(CLOSE_SHUTDOWN)

    def _shut(self, code: int) -> None:
        """Close the socket, after what was said already."""
        if self._is_closing:
            return
        self._is_closing = True
        for subscription in self._subscriptions.values():
            subscription.dismiss()
        self._spawn(self._close, code)

    async def _close(self, code: int) -> None:
        try:
            await self._sender.close(lambda: self._close_socket(code))
        finally:
            self._forget()

    def _forget(self) -> None:
        """Let the process go on without this socket."""
        runtime().departures.discard(self._depart)
        if self._timer is not None:
            self._timer.cancel()
        if self._place is not None:
            self._place.release()
