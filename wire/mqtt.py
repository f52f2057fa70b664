"""The MQTT 5 session that carries the wire's messages: batches in, acknowledged publishes out."""

from __future__ import annotations

import asyncio
import contextlib
import random as randomness
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import mqtt5

from wire.arrivals import Inbound
from wire.backoff import Backoff
from wire.connection_state import (
    Cause,
    Connected,
    ConnectionState,
    Disconnected,
    Ending,
    FiltersLost,
)
from wire.endpoint import Endpoint, Will
from wire.link import Link
from wire.mqtt_errors import (
    BrokerUnreachableError,
    ConnectionRefusedByBrokerError,
    EndpointError,
    FilterError,
    MqttError,
    PacketTooLargeError,
    PublishRefusedError,
    PublishTopicError,
    SessionClosedError,
    SubscribeRefusedError,
)
from wire.sendwindow import Oversized, Publication
from wire.session import (
    PAUSE_COUNT,
    REFUSED,
    Accepted,
    BrokerLeft,
    Event,
    FilterChange,
    FiltersAnswered,
    PublicationAnswered,
    Refused,
    SessionCore,
    SessionCounters,
    Subscription,
    Unsubscription,
    topic_filter,
)
from wire.takeover import TakeoverWatch

__all__ = [
    "BrokerUnreachableError",
    "Cause",
    "Connected",
    "ConnectionRefusedByBrokerError",
    "ConnectionState",
    "Disconnected",
    "Ending",
    "Endpoint",
    "EndpointError",
    "FilterError",
    "FiltersLost",
    "Inbound",
    "MqttError",
    "PacketTooLargeError",
    "PublishRefusedError",
    "PublishTopicError",
    "Session",
    "SessionClosedError",
    "SessionCounters",
    "SubscribeRefusedError",
    "Will",
]

MAX_TOPIC_BYTES = 65_535
REST_S = 0.001
FASTEST_ARRIVAL_S = 25e-6
SUCCESS = 0
SESSION_TAKEN_OVER = 142
BUSY_CODES = frozenset({136, 137, 151, 159})  # unavailable, busy, quota, connection rate


class Session:
    """One MQTT 5 session that outlives its connections.

    `async with Session(endpoint)` waits for the first CONNACK and raises BrokerUnreachableError or
    ConnectionRefusedByBrokerError; `async with Session(endpoint).background()` returns at once and
    keeps trying. After that, connections are renewed for ever; `on_state` is told of each change.
    With `most_waiting`, reading pauses while so many messages wait to be taken, even where that
    delays the answers to our own: whoever takes them must not wait for such an answer.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        random: randomness.Random | None = None,
        on_state: Callable[[ConnectionState], None] | None = None,
        most_waiting: int | None = None,
    ) -> None:
        self._endpoint = endpoint
        self.on_state = on_state
        """Told of each change of the connection."""
        self._backoff = Backoff(random or randomness.Random())  # noqa: S311 - jitter, no secret
        self._takeovers = TakeoverWatch()
        self._core = SessionCore(
            receive_max=endpoint.receive_max,
            max_packet_bytes=endpoint.max_packet_bytes,
            pause_count=most_waiting or PAUSE_COUNT,
        )
        self._pauses_in_any_case = most_waiting is not None
        self._answers: dict[Publication, asyncio.Future[int]] = {}
        self._changes: dict[FilterChange, asyncio.Future[None]] = {}
        self._link: Link | None = None
        self._up = asyncio.Event()
        self._first: asyncio.Future[None] | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._wanted = 1
        self._flushing = False
        self._last_ending: Ending | None = None
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        first = asyncio.get_running_loop().create_future()
        self._first = first
        self._start()
        try:
            async with asyncio.timeout(self._endpoint.connect_timeout_s):
                await first
        except BaseException as error:
            await self._close()
            if isinstance(error, TimeoutError):
                raise self._unreachable() from None
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._close()

    @contextlib.asynccontextmanager
    async def background(self) -> AsyncIterator[Self]:
        """Run the session without waiting for a broker; refusals are retried, slowly."""
        self._start()
        try:
            yield self
        finally:
            await self._close()

    @property
    def counters(self) -> SessionCounters:
        """A frozen snapshot of what was done so far."""
        return self._core.counters

    @property
    def is_stalled(self) -> bool:
        """Whether the broker can be seen to wait for acknowledgements before it sends more."""
        arrivals = self._core.arrivals
        return arrivals.stall.stalled(arrivals.owed)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that the broker has accepted."""
        return self._up.is_set() and not self._closed

    async def subscribe(self, *filters: str, qos: int = 1) -> None:
        """Subscribe; remembered, and renewed whenever the broker lost the session.

        Retained messages come for a new subscription only, not for one that was resumed. Raises
        FilterError, or SubscribeRefusedError when a filter was refused or granted a lower QoS.
        """
        for pattern in filters:
            topic_filter(pattern, qos=qos)
        await self._change(Subscription(filters, qos))

    async def unsubscribe(self, *filters: str) -> None:
        """Unsubscribe; raise SubscribeRefusedError when the broker refuses."""
        for pattern in filters:
            topic_filter(pattern, qos=0)
        await self._change(Unsubscription(filters))

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> int:
        """Publish; at QoS 1 return at the PUBACK with its code (16: nobody is subscribed).

        Waits for the broker's Receive Maximum and through reconnects. At QoS 0 it returns when the
        message is handed to a connection. A cancelled call may still be delivered. Raises
        PublishTopicError, PublishRefusedError, PacketTooLargeError or SessionClosedError.
        """
        check_topic(topic)
        if qos == 0:
            return await self._publish_once(topic, payload, retain=retain)
        if qos != 1:
            raise PublishTopicError(f"expected QoS 0 or 1 for {topic!r}, got {qos}")
        self._check_open()
        publication = Publication(topic, payload, retain)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[publication] = answer
        self._core.publish(publication)
        self._flush_soon()
        self._adjust_reading()
        try:
            return await answer
        except asyncio.CancelledError:
            self._core.withdraw(publication)
            raise
        finally:
            self._answers.pop(publication, None)

    async def receive(self, *, linger_s: float = 0.0, limit: int = 1024) -> Inbound:
        """Return the messages that have arrived, at most `limit`; wait for the first one.

        Then waits up to `linger_s` for more, but no longer than until `limit` messages are there
        or the broker can be seen to wait for acknowledgements. One caller at a time.
        """
        if self._arrival is not None:
            raise RuntimeError("receive() is already waiting in another task")
        while True:
            if not self._core.available:
                await self._arrivals(1, timeout_s=None)
            if linger_s > 0:
                await self._linger(linger_s, limit)
            if self._core.available:
                break
        inbound = self._core.take(limit)
        self._adjust_reading()
        return inbound

    def acknowledge(self, inbound: Inbound) -> None:
        """Finish a batch: its QoS 1 messages are acknowledged, strictly in order of arrival.

        A batch waits for those before it. One of an earlier connection is only counted
        (`stale_acks`): the broker sends its messages again.
        """
        self._core.acknowledge(inbound)
        self._flush_soon()

    def on_bytes(self, data: memoryview) -> int:
        """Serve the link: take what has arrived."""
        try:
            return self._core.feed(data)
        finally:
            self._perform_events()
            if self._arrival is not None:
                self._serve_receiver()
            if self._core.congested:
                self._adjust_reading()

    def on_writable(self) -> None:
        """Serve the link: the broker reads again."""
        self._flush_soon()

    def on_silence(self) -> None:
        """Serve the link: ask for a sign of life."""
        self._core.ping()
        self._flush_soon()

    def _start(self) -> None:
        if self._runner is not None:
            raise RuntimeError("a Session is entered once; make a new one")
        self._endpoint.tls_context()
        self._runner = asyncio.create_task(
            self._keep_connected(), name=f"mqtt session {self._endpoint.client_id}"
        )
        self._runner.add_done_callback(self._fail_callers)

    async def _close(self) -> None:
        assert self._runner is not None
        self._runner.cancel()
        await asyncio.wait({self._runner})
        self._report(Disconnected(Ending(Cause.CLOSED, "closed by us"), None))
        if not self._runner.cancelled():
            self._runner.result()

    def _fail_callers(self, _: asyncio.Task[None]) -> None:
        self._closed = True
        error = SessionClosedError("the session was closed before the broker answered")
        for answer in self._answers.values():
            fail(answer, error)
        for change in self._changes.values():
            fail(change, error)
        self._up.set()
        self._wake()

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosedError("the session is closed; enter a new one")

    def _unreachable(self) -> BrokerUnreachableError:
        detail = "no CONNACK in time" if self._last_ending is None else self._last_ending.detail
        endpoint = self._endpoint
        return BrokerUnreachableError(host=endpoint.host, port=endpoint.port, detail=detail)

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            ending = await self._connect_once()
            lasted_s = loop.time() - began_s
            ending = self._takeovers.judge(ending, lasted_s=lasted_s)
            self._last_ending = ending
            delay_s = self._backoff.next_delay_s(ending.cause, lasted_s=lasted_s)
            self._report(Disconnected(ending, delay_s))
            await asyncio.sleep(delay_s)

    async def _connect_once(self) -> Ending:
        link = Link(self)
        try:
            async with asyncio.timeout(self._endpoint.connect_timeout_s):
                await self._open(link)
            return await asyncio.shield(link.ended)
        except (OSError, EndpointError) as error:
            return Ending(Cause.UNREACHABLE, str(error) or "no CONNACK in time")
        finally:
            self._flush()
            self._up.clear()
            self._core.stop()
            self._link = None
            await link.close(Ending(Cause.CLOSED, "closed by us"))

    async def _open(self, link: Link) -> None:
        endpoint = self._endpoint
        context = endpoint.tls_context()
        self._core.start(endpoint.connect_packet())
        await asyncio.get_running_loop().create_connection(
            lambda: link, endpoint.host, endpoint.port, ssl=context
        )
        self._link = link
        self._flush()
        await link.answered

    def _report(self, state: ConnectionState) -> None:
        if self.on_state is not None:
            self.on_state(state)

    def _perform_events(self) -> None:
        if self._core.has_events:
            for event in self._core.take_events():
                self._perform(event)
        if self._core.has_output:
            self._flush_soon()

    def _perform(self, event: Event) -> None:
        match event:
            case PublicationAnswered():
                self._answer_publication(event)
            case FiltersAnswered():
                self._answer_change(event)
            case Oversized(publication, size_bytes, limit_bytes):
                error = PacketTooLargeError(
                    topic=publication.topic, size_bytes=size_bytes, limit_bytes=limit_bytes
                )
                fail(self._answers.get(publication), error)
            case Accepted():
                self._enter_connection(event)
            case Refused(reason_code, detail):
                self._leave_connection(refusal(reason_code, detail))
            case BrokerLeft(reason_code, detail):
                self._leave_connection(departure(reason_code, detail))

    def _enter_connection(self, event: Accepted) -> None:
        assert self._link is not None
        self._link.answer()
        own_s = self._endpoint.keep_alive_s
        self._link.keep_alive(own_s if event.keep_alive_s is None else event.keep_alive_s)
        self._up.set()
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        self._report(Connected(self._core.connection, event.session_present))

    def _leave_connection(self, ending: Ending) -> None:
        assert self._link is not None
        self._link.end(ending)
        if ending.cause is Cause.REFUSED:
            error = ConnectionRefusedByBrokerError(ending.reason_code or REFUSED, ending.detail)
            fail(self._first, error)

    def _answer_publication(self, event: PublicationAnswered) -> None:
        answer = self._answers.get(event.publication)
        if event.reason_code >= REFUSED:
            error = PublishRefusedError(
                topic=event.publication.topic,
                reason_code=event.reason_code,
                reason=event.detail,
            )
            fail(answer, error)
        elif answer is not None and not answer.done():
            answer.set_result(event.reason_code)

    def _answer_change(self, event: FiltersAnswered) -> None:
        answer = self._changes.get(event.change)
        if answer is None:
            if event.refused:
                self._report(FiltersLost(tuple(event.refused.items())))
        elif event.refused:
            fail(answer, SubscribeRefusedError(event.refused))
        elif not answer.done():
            answer.set_result(None)

    async def _change(self, change: FilterChange) -> None:
        self._check_open()
        if not change.filters:
            return
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes[change] = answer
        self._core.change(change)
        self._flush_soon()
        self._adjust_reading()
        try:
            await answer
        finally:
            self._changes.pop(change, None)

    async def _publish_once(self, topic: str, payload: bytes, *, retain: bool) -> int:
        await self._up.wait()
        self._check_open()
        self._core.publish_once(mqtt5.PublishPacket(topic, payload, retain=retain))
        self._flush_soon()
        return SUCCESS

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        link = self._link
        if link is None or not link.writable:
            return
        link.write(self._core.output())
        self._perform_events()

    def _adjust_reading(self) -> None:
        if self._link is None:
            return
        awaited = self._core.unanswered and not self._pauses_in_any_case
        if self._core.congested and not awaited:
            self._link.deafen()
        else:
            self._link.listen()

    def _enough_arrived(self) -> bool:
        core = self._core
        available = core.available
        if available >= self._wanted:
            return True
        return available > 0 and core.arrivals.stall.stalled(core.arrivals.owed)

    def _serve_receiver(self) -> None:
        if self._enough_arrived():
            self._wake()
        elif self._link is not None:
            arrivals = self._core.arrivals
            pause_s = arrivals.stall.room(arrivals.owed) * FASTEST_ARRIVAL_S
            self._link.rest(min(pause_s, REST_S))

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def _arrivals(self, wanted: int, *, timeout_s: float | None) -> None:
        self._check_open()
        self._wanted = wanted
        if self._enough_arrived():
            return
        loop = asyncio.get_running_loop()
        self._arrival = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(timeout_s, self._wake)
        try:
            await self._arrival
        finally:
            self._arrival = None
            if timer is not None:
                timer.cancel()
        self._check_open()

    async def _linger(self, linger_s: float, limit: int) -> None:
        arrivals = self._core.arrivals
        before = 0
        for _ in range(2):
            before = self._core.available
            await self._arrivals(limit, timeout_s=linger_s / 2)
            if self._enough_arrived():
                arrivals.stall.note_wake(arrivals.owed)
                return
        if self._core.available == before:
            arrivals.stall.note_silence(arrivals.owed)


def fail(future: asyncio.Future[Any] | None, error: MqttError) -> None:
    """Set the error, where somebody still waits for it."""
    if future is not None and not future.done():
        future.set_exception(error)


def refusal(reason_code: int, detail: str) -> Ending:
    """Tell a broker that is busy from one that refuses us."""
    cause = Cause.BUSY if reason_code in BUSY_CODES else Cause.REFUSED
    return Ending(cause, detail, reason_code)


def departure(reason_code: int, detail: str) -> Ending:
    """Tell a takeover by another client of our id from other ends."""
    taken_over = reason_code == SESSION_TAKEN_OVER
    cause = Cause.TAKEN_OVER if taken_over else Cause.CLOSED_BY_BROKER
    return Ending(cause, detail, reason_code)


def check_topic(topic: str) -> None:
    """Raise PublishTopicError unless MQTT allows to publish to the topic (section 4.7)."""
    try:
        size_bytes = len(topic.encode())
    except UnicodeEncodeError as error:
        raise PublishTopicError(f"a topic must be UTF-8, got {topic!r}") from error
    if not 0 < size_bytes <= MAX_TOPIC_BYTES or any(mark in topic for mark in "+#\0"):
        raise PublishTopicError(
            f"expected a topic of 1 to {MAX_TOPIC_BYTES} bytes without +, # and NUL, "
            f"got {topic[:80]!r} ({size_bytes} bytes)"
        )
