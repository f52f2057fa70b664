"""The MQTT 5 session as a state machine: bytes in, bytes and events out; no clock, no sockets.

Source: OASIS MQTT Version 5.0 (2019), sections 3 and 4.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import mqtt5

from wire.arrivals import Arrivals, Inbound, encode_acknowledgements
from wire.mqtt_errors import FilterError, PacketTooLargeError, ProtocolViolationError
from wire.sendwindow import Oversized, PacketIds, Publication, SendWindow

__all__ = [
    "PAUSE_COUNT",
    "REFUSED",
    "Accepted",
    "BrokerLeft",
    "Event",
    "FilterChange",
    "FiltersAnswered",
    "Phase",
    "PublicationAnswered",
    "Refused",
    "SessionCore",
    "SessionCounters",
    "Subscription",
    "Unsubscription",
    "topic_filter",
]

PUBLISH = 3
QOS_BITS = 0b0110
QOS_2_BIT = 0b0100
SHORT_LENGTH = 128
MAX_LENGTH_BYTES = 4
REFUSED = 128
PAUSE_COUNT = 65_536
DROP_COUNT = 4 * PAUSE_COUNT
PINGREQ = mqtt5.PingReqPacket().write()
MALFORMED_PACKET = 129
PROTOCOL_ERROR = 130
PACKET_TOO_LARGE = 149
QOS_NOT_SUPPORTED = 155


class Phase(enum.Enum):
    """How far the connection is."""

    DOWN = "down"
    CONNECTING = "connecting"
    UP = "up"


@dataclass(frozen=True, slots=True)
class SessionCounters:
    """What a session has done since it was made; bytes are those of MQTT packets."""

    connects: int = 0
    resumed: int = 0
    received: int = 0
    acknowledged: int = 0
    published: int = 0
    refused: int = 0
    dropped: int = 0
    stale_acks: int = 0
    malformed_connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(slots=True, eq=False)
class Subscription:
    """Filters to subscribe to, all at one quality of service (0 or 1)."""

    filters: tuple[str, ...]
    qos: int
    packet_id: int = 0

    def encode(self) -> bytes:
        """Encode SUBSCRIBE; retained messages are sent for new subscriptions only."""
        return mqtt5.SubscribePacket(
            self.packet_id, [topic_filter(pattern, qos=self.qos) for pattern in self.filters]
        ).write()


@dataclass(slots=True, eq=False)
class Unsubscription:
    """Filters to unsubscribe from."""

    filters: tuple[str, ...]
    packet_id: int = 0

    def encode(self) -> bytes:
        """Encode UNSUBSCRIBE."""
        return mqtt5.UnsubscribePacket(self.packet_id, list(self.filters)).write()


FilterChange: TypeAlias = Subscription | Unsubscription


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker accepted the connection."""

    session_present: bool
    keep_alive_s: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker refused the connection."""

    reason_code: int
    detail: str


@dataclass(frozen=True, slots=True)
class BrokerLeft:
    """The broker sent DISCONNECT."""

    reason_code: int
    detail: str


@dataclass(frozen=True, slots=True)
class PublicationAnswered:
    """The broker answered a publication; 128 and above is a refusal."""

    publication: Publication
    reason_code: int
    detail: str


@dataclass(frozen=True, slots=True)
class FiltersAnswered:
    """The broker answered a change of filters; `refused` maps filters to reason codes."""

    change: FilterChange
    refused: Mapping[str, int]


Event: TypeAlias = (
    Accepted | Refused | BrokerLeft | PublicationAnswered | FiltersAnswered | Oversized
)


class SessionCore:
    """One MQTT 5 session over any number of connections, one at a time.

    The owner calls `start` for each connection, writes what `output` returns, hands what it reads
    to `feed`, and performs the `take_events`. Acknowledgements leave in order of arrival.
    """

    def __init__(
        self, *, receive_max: int, max_packet_bytes: int, pause_count: int = PAUSE_COUNT
    ) -> None:
        self.phase = Phase.DOWN
        self.connection = 0
        self.arrivals = Arrivals(receive_max)
        self._max_packet_bytes = max_packet_bytes
        self._pause_count = pause_count
        self._ids = PacketIds()
        self._window = SendWindow(self._ids)
        self._changes: dict[int, FilterChange] = {}
        self._filters: dict[str, int] = {}
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._counts = dict.fromkeys(SessionCounters.__slots__, 0)

    @property
    def counters(self) -> SessionCounters:
        """A snapshot of what was done so far."""
        return SessionCounters(**self._counts)

    @property
    def filters(self) -> Mapping[str, int]:
        """The subscribed filters with their quality of service, renewed after a lost session."""
        return self._filters

    @property
    def unanswered(self) -> int:
        """How many publications and changes of filters wait for the broker."""
        return len(self._window) + len(self._changes)

    @property
    def available(self) -> int:
        """How many messages can be taken: none while it is open whether they will come again."""
        return len(self.arrivals) if self.phase is Phase.UP else 0

    @property
    def congested(self) -> bool:
        """Tell whether so many messages wait to be taken that reading should pause.

        At QoS 1 only brokers that exceed our Receive Maximum get there; mosquitto 2.0 is one.
        """
        return len(self.arrivals) >= self._pause_count

    @property
    def has_events(self) -> bool:
        """Tell whether `take_events` would return any."""
        return bool(self._events)

    @property
    def has_output(self) -> bool:
        """Tell whether `output` would return bytes."""
        return bool(self._out) or (self.phase is Phase.UP and self._window.can_send)

    def start(self, connect: bytes) -> None:
        """Begin a new connection with an encoded CONNECT packet."""
        self.phase = Phase.CONNECTING
        self.connection += 1
        self._out = [connect]
        self._events.clear()

    def stop(self) -> None:
        """Note that the connection is gone; everything unanswered stays for the next one."""
        self.phase = Phase.DOWN
        self._out.clear()

    def feed(self, data: memoryview) -> int:
        """Parse all whole packets; return how many bytes they took.

        Raises ProtocolViolationError where the bytes are not what MQTT 5 allows; the packets
        before them have taken effect.
        """
        position, end, read = 0, len(data), mqtt5.read
        received = guarded = 0
        up, packets = self.phase is Phase.UP, self.arrivals.packets
        try:
            while end - position >= 2:
                header, length = data[position], data[position + 1]
                if length < SHORT_LENGTH:
                    stop = position + 2 + length
                else:
                    stop = long_packet_end(data, position, limit=self._max_packet_bytes)
                if stop > end:
                    break
                try:
                    packet, _ = read(data[position:stop])
                except BaseException as error:  # noqa: BLE001 - the codec's panic is no Exception
                    reject_packet(error, header=header, size_bytes=stop - position)
                if not (up and header >> 4 == PUBLISH):
                    self._absorb(packet)
                    if self.phase is Phase.DOWN:
                        position = end
                        break
                    up, packets = self.phase is Phase.UP, self.arrivals.packets
                elif header & QOS_BITS:
                    check_guarded(packet, header=header)
                    packets.append(packet)  # type: ignore[arg-type]  # the header says PUBLISH
                    received += 1
                    guarded += 1
                else:
                    packets.append(packet)  # type: ignore[arg-type]
                    received += 1
                position = stop
        except ProtocolViolationError:
            self._counts["malformed_connections"] += 1
            raise
        finally:
            self._count_arrivals(received, guarded=guarded, size_bytes=position)
        return position

    def take(self, limit: int) -> Inbound:
        """Remove and return the oldest messages that arrived, at most `limit`."""
        return self.arrivals.take(limit)

    def acknowledge(self, inbound: Inbound) -> None:
        """Finish a batch: PUBACKs go out for it and its successors once all before are finished.

        A batch of an earlier connection is only counted: its packet ids mean nothing any more.
        """
        if self.phase is not Phase.UP or self.arrivals.is_stale(inbound):
            self._counts["stale_acks"] += 1
            return
        ids = self.arrivals.release(inbound)
        if ids:
            self._counts["acknowledged"] += len(ids)
            self._out.append(encode_acknowledgements(ids))

    def publish(self, publication: Publication) -> None:
        """Queue a QoS 1 message; a PublicationAnswered or Oversized event will answer it."""
        self._window.offer(publication)

    def withdraw(self, publication: Publication) -> None:
        """Forget a publication whose owner left, unless it may be with the broker already."""
        self._window.withdraw(publication)

    def publish_once(self, packet: mqtt5.PublishPacket) -> None:
        """Send a QoS 0 message over the present connection; raise PacketTooLargeError."""
        encoded = packet.write()
        limit = self._window.max_packet_bytes
        if limit is not None and len(encoded) > limit:
            raise PacketTooLargeError(
                topic=packet.topic, size_bytes=len(encoded), limit_bytes=limit
            )
        self._counts["published"] += 1
        self._out.append(encoded)

    def change(self, change: FilterChange) -> None:
        """Subscribe or unsubscribe, now or when connected; a FiltersAnswered event follows."""
        number = self._ids.allocate()
        if number is None:
            raise FilterError("all 65,535 packet ids are in use; try again after some answers")
        change.packet_id = number
        self._changes[number] = change
        if isinstance(change, Unsubscription):
            for pattern in change.filters:
                self._filters.pop(pattern, None)
        if self.phase is Phase.UP:
            self._out.append(change.encode())

    def ping(self) -> None:
        """Ask the broker for a sign of life."""
        self._out.append(PINGREQ)

    def output(self) -> bytes:
        """Return what is to be written now, in order; `has_output` tells whether more is left."""
        if self.phase is Phase.UP and self._window.can_send:
            packets, misfits = self._window.fill()
            self._out += packets
            self._events += misfits
        written = b"".join(self._out)
        self._out.clear()
        self._counts["bytes_out"] += len(written)
        return written

    def take_events(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def _count_arrivals(self, received: int, *, guarded: int, size_bytes: int) -> None:
        arrivals = self.arrivals
        arrivals.owed += guarded
        arrivals.stall.observe(arrivals.owed)
        self._counts["received"] += received
        waiting = len(arrivals.packets)
        if waiting > DROP_COUNT:
            self._counts["dropped"] += arrivals.drop_unguarded(waiting - received)
        self._counts["bytes_in"] += size_bytes

    def _absorb(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.ConnAckPacket() if self.phase is Phase.CONNECTING:
                self._answer_connect(packet)
            case mqtt5.DisconnectPacket():
                self.phase = Phase.DOWN
                detail = packet.reason_str or packet.reason_code.name
                self._events.append(BrokerLeft(int(packet.reason_code), detail))
            case mqtt5.PubAckPacket() if self.phase is Phase.UP:
                self._answer_publish(packet)
            case mqtt5.SubAckPacket() | mqtt5.UnsubAckPacket() if self.phase is Phase.UP:
                self._answer_change(packet)
            case mqtt5.PingRespPacket() if self.phase is Phase.UP:
                pass
            case _:
                kind = type(packet).__name__
                raise ProtocolViolationError(
                    PROTOCOL_ERROR, f"{kind} while the connection was {self.phase.value}"
                )

    def _answer_connect(self, packet: mqtt5.ConnAckPacket) -> None:
        code = int(packet.reason_code)
        if code >= REFUSED or packet.max_qos == mqtt5.QoS.AT_MOST_ONCE:
            self.phase = Phase.DOWN
            detail = packet.reason_str or packet.reason_code.name
            if code < REFUSED:
                code, detail = QOS_NOT_SUPPORTED, "it offers QoS 0 only, 1 is needed"
            self._events.append(Refused(code, detail))
            return
        resumed = packet.session_present
        self.phase = Phase.UP
        self._counts["connects"] += 1
        self._counts["resumed"] += resumed
        self.arrivals.restart(self.connection, resumed=resumed)
        self._window.restart(
            resumed=resumed,
            receive_max=packet.receive_max,
            max_packet_bytes=packet.max_packet_size,
        )
        self._renew_filters(resumed=resumed)
        self._events.append(Accepted(resumed, packet.server_keep_alive))

    def _renew_filters(self, *, resumed: bool) -> None:
        unanswered = list(self._changes.values())
        if not resumed:
            for qos in sorted(set(self._filters.values())):
                patterns = tuple(name for name, level in self._filters.items() if level == qos)
                self.change(Subscription(patterns, qos))
        self._out += [change.encode() for change in unanswered]

    def _answer_publish(self, packet: mqtt5.PubAckPacket) -> None:
        publication = self._window.settle(packet.packet_id)
        if publication is None:
            return
        code = int(packet.reason_code)
        self._counts["refused" if code >= REFUSED else "published"] += 1
        self._events.append(
            PublicationAnswered(publication, code, packet.reason_str or packet.reason_code.name)
        )

    def _answer_change(self, packet: mqtt5.SubAckPacket | mqtt5.UnsubAckPacket) -> None:
        change = self._changes.pop(packet.packet_id, None)
        if change is None:
            return
        self._ids.free(packet.packet_id)
        codes = [int(code) for code in packet.reason_codes]
        if len(codes) != len(change.filters):
            raise ProtocolViolationError(
                PROTOCOL_ERROR, f"{len(codes)} reason codes for {len(change.filters)} filters"
            )
        answers = dict(zip(change.filters, codes, strict=True))
        if isinstance(change, Subscription):
            refused = {name: code for name, code in answers.items() if code != change.qos}
            self._remember(change, refused)
        else:
            refused = {name: code for name, code in answers.items() if code >= REFUSED}
        self._counts["refused"] += len(refused)
        self._events.append(FiltersAnswered(change, refused))

    def _remember(self, change: Subscription, refused: Mapping[str, int]) -> None:
        for pattern in change.filters:
            if pattern in refused:
                self._filters.pop(pattern, None)
            else:
                self._filters[pattern] = change.qos


def topic_filter(pattern: str, *, qos: int) -> mqtt5.TopicFilter:
    """Build one entry of SUBSCRIBE; raise FilterError where MQTT 5 does not allow it."""
    if qos not in {0, 1}:
        raise FilterError(f"expected QoS 0 or 1 for {pattern!r}, got {qos}")
    if not pattern or "\0" in pattern:
        raise FilterError(f"expected a topic filter without NUL, got {pattern!r}")
    try:
        entry = mqtt5.TopicFilter(
            pattern,
            max_qos=mqtt5.QoS(qos),
            retain_as_published=False,
            retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
        )
        mqtt5.SubscribePacket(1, [entry]).write()
    except ValueError as error:
        raise FilterError(f"cannot subscribe to {pattern!r}: {error}") from error
    return entry


def long_packet_end(data: memoryview, start: int, *, limit: int) -> int:
    """Return where the packet at `start` ends, or a place beyond `data` while that is unknown.

    Raises ProtocolViolationError for a length of more than four bytes or a packet over `limit`.
    """
    length = 0
    for index in range(1, MAX_LENGTH_BYTES + 1):
        if start + index >= len(data):
            return len(data) + 1
        byte = data[start + index]
        length |= (byte & 0x7F) << 7 * (index - 1)
        if byte < SHORT_LENGTH:
            break
    else:
        raise ProtocolViolationError(MALFORMED_PACKET, "a packet length of over four bytes")
    size_bytes = 1 + index + length
    if size_bytes > limit:
        raise ProtocolViolationError(
            PACKET_TOO_LARGE, f"a packet of {size_bytes} bytes; our limit is {limit}"
        )
    return start + size_bytes


def reject_packet(error: BaseException, *, header: int, size_bytes: int) -> NoReturn:
    """Turn what the codec raises on malformed bytes into ProtocolViolationError.

    The codec is Rust: on some malformed packets it panics, which arrives as a BaseException.
    """
    malformed = isinstance(error, ValueError | IndexError)
    if not malformed and type(error).__name__ != "PanicException":
        raise error
    raise ProtocolViolationError(
        MALFORMED_PACKET,
        f"a malformed packet of type {header >> 4} and {size_bytes} bytes: {error}",
    ) from error


def check_guarded(packet: mqtt5.Packet, *, header: int) -> None:
    """Raise ProtocolViolationError for QoS 2, which is never asked for, and for packet id 0."""
    if header & QOS_2_BIT:
        raise ProtocolViolationError(QOS_NOT_SUPPORTED, "a QoS 2 message, never asked for")
    if not packet.packet_id:  # type: ignore[union-attr]  # the header says PUBLISH
        raise ProtocolViolationError(MALFORMED_PACKET, "a QoS 1 message with packet id 0")
