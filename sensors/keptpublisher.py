"""The publisher of kept readings: on the disk first, then sent until a gateway confirms them."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from sensors.client import Protocol
from sensors.confirming import (
    ANSWERABLE_S,
    Answer,
    Confirmed,
    Confirming,
    Holding,
    Ignored,
    SetBack,
)
from sensors.connection import Connection
from sensors.encoder import kept_payload
from sensors.errors import BrokerUnreachableError, PublishError
from sensors.kept import KeptReadings, KeptRow
from wire.codec import MAX_JSON_BYTES, decode_json, encode_json
from wire.endpoint import Endpoint
from wire.errors import WireError
from wire.messages import ConfirmedMessage, ConfirmRequest
from wire.topics import Topics

__all__ = ["KeptPublisher"]

COMMIT_EVERY_S = 0.05
STEP_S = 0.05
BACKOFF_S = 0.05
BACKOFF_CAP_S = 2.0
PATIENCE_S = 5.0
AHEAD_MESSAGES = 8000
LEAST_AHEAD = 100
PAGE_ROWS = 500
HEADER_BYTES = 512  # of a PUBLISH, at most
ID_BYTES = 100  # what numbering adds to a body, at most


class KeptPublisher:
    """A context manager that keeps rows in a file and sends them until a gateway confirms them.

    It serves the given sources, each known to `kept`, and those that left rows in the file.
    Rows are committed `commit_rows` at a time or 50 ms after the first. Without a broker or
    gateway they wait on the disk, and the broker is tried for ever. Leaving waits for nothing:
    what is not confirmed is sent by the next process with the file. `warn` is told each change.

    Every method raises KeptFileError, or PublishError for what the broker will never take; before
    the first connection also BrokerUnreachableError when the broker refuses the credentials.
    """

    def __init__(
        self,
        broker: str,
        *,
        kept: KeptReadings,
        topics: Topics,
        sources: Iterable[str],
        protocol: Protocol = "5",
        window: int = 1000,
        rows_per_message: int = 1,
        commit_rows: int = 500,
        gateway: str | None = None,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._endpoint = Endpoint.from_url(
            broker, client_id=f"vedette-sensors-{secrets.token_hex(4)}"
        )
        self._kept = kept
        self._topics = topics
        self._protocol: Protocol = protocol
        self._window = window
        self._rows_per_message = rows_per_message
        self._commit_rows = commit_rows
        self._warn = warn
        self._said = ""
        self._others: set[str] = set()
        self._uncommitted: dict[str, list[bytes]] = {}
        self._uncommitted_rows = 0
        self._commit_due_s = 0.0
        left = [name for name, state in kept.sources.items() if state.confirmed < state.last]
        self._names = list(dict.fromkeys([*sources, *left]))
        for name in self._names:
            kept.open_source(name)
            if gateway is not None:
                kept.choose_gateway(name, gateway=gateway)
        self._sources = {name: self._confirming(name) for name in self._names}
        self._connection: Connection | None = None
        self._was_open = False
        self._attempt = 0
        self._retry_s = 0.0
        self._heard_s = 0.0
        self.messages = 0
        """Publishes of readings, those sent again included."""
        self.payload_bytes = 0
        """Bytes of their payloads."""
        self.reconnects = 0
        """Connections made after the first."""

    @property
    def unconfirmed(self) -> int:
        """Count of numbers that no gateway has confirmed, rows not yet on the disk included."""
        states = (self._kept.sources[name] for name in self._names)
        return self._uncommitted_rows + sum(state.last - state.confirmed for state in states)

    @property
    def unacknowledged(self) -> int:
        """Publishes on the open connection that the broker has not acknowledged yet."""
        return 0 if self._connection is None else self._connection.unacknowledged

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.commit()
        finally:
            if self._connection is not None:
                self._connection.close()

    def keep(self, source: str, body: bytes) -> None:
        """Take a row (`kept_body`); it is safe after the next `commit`, which may be this one."""
        if not self._uncommitted_rows:
            self._commit_due_s = time.monotonic() + COMMIT_EVERY_S
        self._uncommitted.setdefault(source, []).append(body)
        self._uncommitted_rows += 1
        if self._uncommitted_rows >= self._commit_rows:
            self.commit()
            self._step(0.0)

    def commit(self) -> None:
        """Bring every row taken to the disk; Ctrl-C meanwhile loses those, and doubles none."""
        rows, self._uncommitted, self._uncommitted_rows = self._uncommitted, {}, 0
        if rows:
            self._kept.append(rows)

    def serve(self, wait_s: float) -> None:
        """Send, ask and listen for `wait_s` seconds."""
        until_s = time.monotonic() + wait_s
        while (remaining_s := until_s - time.monotonic()) > 0:
            self._step(min(remaining_s, STEP_S))

    def wait_for_room(self) -> None:
        """Wait until the file is less than half full, for rows that can as well be taken later."""
        self.commit()
        while self._kept.held_bytes > self._kept.limit_bytes // 2:
            self._step(STEP_S, hurried=True)

    def drain(self) -> None:
        """Wait until the gateway has confirmed every row."""
        self.commit()
        while self.unconfirmed:
            self._step(STEP_S, hurried=True)

    def _step(self, wait_s: float, *, hurried: bool = False) -> None:
        """Do what is due, then wait for the network."""
        if self._uncommitted_rows and time.monotonic() >= self._commit_due_s:
            self.commit()
        connection = self._connected(wait_s)
        if connection is None:
            return
        connection.exchange(0.0 if self._send(connection, whole=hurried) else wait_s)
        while connection.arrived:
            self._take(*connection.arrived.popleft())
        self._ask(connection, hurried=hurried and connection.unacknowledged == 0)

    def _connected(self, wait_s: float) -> Connection | None:
        """Return the open connection; without one, go on making it for at most `wait_s`."""
        connection = self._connection
        if connection is not None and connection.is_open:
            return connection
        if connection is None and time.monotonic() < self._retry_s:
            time.sleep(min(wait_s, max(0.0, self._retry_s - time.monotonic())))
        elif connection is None:
            self._connection = self._dialled()
        elif connection.state == "connecting":
            connection.exchange(wait_s)
            if connection.is_open:
                self._opened()
        if connection is not None and connection.state == "lost":
            self._lost(connection)
        return None

    def _dialled(self) -> Connection:
        filters = [self._topics.confirmations(name) for name in self._names]
        return Connection(
            self._endpoint, protocol=self._protocol, filters=filters, window=self._window
        )

    def _opened(self) -> None:
        if self._was_open:
            self.reconnects += 1
        if self._said:
            self._say(f"connected to {self._where}; {self.unconfirmed} rows wait")
        self._was_open = True
        self._attempt = 0
        self._heard_s = time.monotonic()
        for confirming in self._sources.values():
            confirming.connected()

    def _lost(self, connection: Connection) -> None:
        """Give the connection up and settle when to try again."""
        if connection.refused_for_good and not self._was_open:
            raise BrokerUnreachableError(
                f"expected an MQTT broker at {self._where}, got {connection.reason}; "
                f"correct --broker ({self.unconfirmed} rows stay in {self._kept.path})"
            )
        self._connection = None
        self._attempt += 1
        most_s = min(BACKOFF_CAP_S, BACKOFF_S * 2.0 ** min(self._attempt, 10))
        self._retry_s = time.monotonic() + random.uniform(0.0, most_s)  # noqa: S311  # jitter
        self._say(
            f"no broker at {self._where} ({connection.reason}); rows wait in {self._kept.path}"
        )

    def _send(self, connection: Connection, *, whole: bool) -> bool:
        """Publish from each source as far as the window allows; tell whether anything was.

        A last message that is not full waits for more rows unless the `whole` backlog is to go.
        """
        before = self.messages
        for name, confirming in self._sources.items():
            while connection.unacknowledged < connection.window:
                first = confirming.next_to_send(self._holding(name))
                if first is None:
                    break
                messages = self._page(confirming, first=first, connection=connection, whole=whole)
                if not self._send_messages(messages, connection=connection, to=confirming):
                    break
        return self.messages > before

    def _page(
        self, confirming: Confirming, *, first: int, connection: Connection, whole: bool
    ) -> list[list[KeptRow]]:
        """Return the rows of the next messages from `first` on."""
        limit = max(self._rows_per_message, min(PAGE_ROWS, confirming.ahead))
        page = self._kept.unconfirmed(confirming.source, after=first - 1, limit=limit)
        most_bytes = connection.max_packet_bytes - HEADER_BYTES
        messages = messages_of(
            page, first=first, most=self._rows_per_message, most_bytes=most_bytes
        )
        before_hole = sum(map(len, messages)) < len(page)
        if messages and not (whole or before_hole or len(messages[-1]) == self._rows_per_message):
            messages.pop()
        return messages

    def _send_messages(
        self, messages: list[list[KeptRow]], *, connection: Connection, to: Confirming
    ) -> bool:
        """Publish messages while the window allows; tell whether any was."""
        sent_before = self.messages
        for rows in messages:
            if connection.unacknowledged >= connection.window:
                break
            bodies = [row.body for row in rows]
            payload = kept_payload(bodies, epoch=to.epoch, first=rows[0].seq)
            self._check_size(payload, connection=connection, source=to.source)
            connection.publish(self._topics.readings(to.source), payload)
            to.sent(rows[-1].seq)
            self.messages += 1
            self.payload_bytes += len(payload)
        return self.messages > sent_before

    def _check_size(self, payload: bytes, *, connection: Connection, source: str) -> None:
        if len(payload) + HEADER_BYTES > connection.max_packet_bytes:
            raise PublishError(
                f"{source}: expected at most {connection.max_packet_bytes} bytes, the broker's "
                f"packet limit, got {len(payload)} for one row; raise max_packet_size of the "
                f"broker (the row stays in {self._kept.path})"
            )

    def _ask(self, connection: Connection, *, hurried: bool) -> None:
        now_s = time.monotonic()
        for name, confirming in self._sources.items():
            if connection.unacknowledged >= connection.window:
                break
            request = confirming.request(now_s, holding=self._holding(name), hurried=hurried)
            if request is not None:
                self._publish_request(connection, request)
        if self.unconfirmed == 0:
            self._heard_s = now_s
        elif now_s > self._heard_s + PATIENCE_S:
            whom = " or ".join(sorted({c.gateway or "any" for c in self._sources.values()}))
            self._say(f"no answer from gateway {whom}; {self._kept.path} keeps the rows")

    def _publish_request(self, connection: Connection, request: ConfirmRequest) -> None:
        topic = self._topics.confirm(request.sender)
        connection.publish(topic, encode_json(request), expiry_s=int(ANSWERABLE_S))

    def _take(self, topic: str, payload: bytes) -> None:
        try:
            message = decode_json(payload, ConfirmedMessage)
        except WireError as error:
            self._say(f"{topic}: {error}")
            return
        confirming = self._sources.get(message.source)
        if confirming is not None:
            self._act_on(confirming.answer(message), name=message.source)

    def _act_on(self, answer: Answer, *, name: str) -> None:
        """Delete what is stored; what follows an answer is sent only when that is on the disk."""
        match answer:
            case Confirmed(seq, gateway):
                self._heard(gateway)
                if self._sources[name].ready:
                    self._kept.answered(name, gateway=gateway)
                self._kept.confirm(name, seq=seq)
            case SetBack(base, gateway):
                self._kept.answered(name, gateway=gateway)
                self._kept.renumber(name, base=base)
                self._sources[name] = self._confirming(name)
                self._say(
                    f"{self._kept.path} was set back: gateway {gateway} has more of {name} than "
                    "was sent; the rows that wait go under a new epoch"
                )
            case Ignored(str() as gateway):
                self._tell_of_other(gateway, name=name)

    def _tell_of_other(self, gateway: str, *, name: str) -> None:
        if gateway not in self._others:
            self._others.add(gateway)
            self._warn(
                f"gateway {gateway} answers {name} as well, which listens to "
                f"{self._sources[name].gateway}; give --gateway {gateway} to change"
            )

    def _heard(self, gateway: str) -> None:
        self._heard_s = time.monotonic()
        if self._said:
            self._say(f"gateway {gateway} confirms what it stores")

    def _confirming(self, name: str) -> Confirming:
        state = self._kept.sources[name]
        share = max(LEAST_AHEAD, AHEAD_MESSAGES // len(self._names))
        return Confirming(
            name,
            epoch=state.epoch,
            known=state.known,
            confirmed=state.confirmed,
            gateway=state.gateway,
            ahead=share * self._rows_per_message,
        )

    def _holding(self, name: str) -> Holding:
        return Holding(self._kept.first(name), self._kept.sources[name].last)

    @property
    def _where(self) -> str:
        return f"{self._endpoint.host}:{self._endpoint.port}"

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._warn(text)


def messages_of(
    page: list[KeptRow], *, first: int, most: int, most_bytes: int
) -> list[list[KeptRow]]:
    """Return each message's rows: consecutive from `first`, up to a hole, within the limits."""
    messages: list[list[KeptRow]] = []
    room = min(most_bytes, MAX_JSON_BYTES)
    size = 0
    for expected, row in enumerate(page, start=first):
        if row.seq != expected:
            break
        row_bytes = len(row.body) + ID_BYTES
        if not messages or len(messages[-1]) == most or size + row_bytes > room:
            messages.append([])
            size = 0
        messages[-1].append(row)
        size += row_bytes
    return messages
