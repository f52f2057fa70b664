from __future__ import annotations

from typing import Any

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.arrivals import Inbound
from wire.mqtt_errors import FilterError, PacketTooLargeError, ProtocolViolationError
from wire.sendwindow import Oversized, Publication
from wire.session import (
    Accepted,
    BrokerLeft,
    FiltersAnswered,
    Phase,
    PublicationAnswered,
    Refused,
    SessionCore,
    Subscription,
    Unsubscription,
)

QOS_0, QOS_1, QOS_2 = mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE
CONNECT = mqtt5.ConnectPacket("c").write()
# Invalid UTF-8 in a topic, on which the codec panics.
PANIC = bytes.fromhex("30040001d100")
# The panic also leaves an exception that nobody can catch any more; Python reports it.
codec_may_panic = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def new_core(**limits: int) -> SessionCore:
    return SessionCore(**({"receive_max": 65_535, "max_packet_bytes": 1_048_576} | limits))


def feed(core: SessionCore, *packets: mqtt5.Packet) -> int:
    return core.feed(memoryview(b"".join(packet.write() for packet in packets)))


def connect(core: SessionCore, **connack: Any) -> list[mqtt5.Packet]:
    """Bring a connection up and return what the session says first, after CONNECT."""
    core.stop()
    core.start(CONNECT)
    assert core.output() == CONNECT
    feed(core, mqtt5.ConnAckPacket(**connack))
    return sent(core)


def sent(core: SessionCore) -> list[mqtt5.Packet]:
    data, packets = memoryview(core.output()), []
    while data:
        packet, size = mqtt5.read(data)
        packets.append(packet)
        data = data[size:]
    return packets


def message(number: int | None = None, *, payload: bytes = b"p") -> mqtt5.PublishPacket:
    qos = QOS_0 if number is None else QOS_1
    return mqtt5.PublishPacket("a/b", payload, qos=qos, packet_id=number)


def acked(core: SessionCore) -> list[int]:
    return [packet.packet_id for packet in sent(core) if isinstance(packet, mqtt5.PubAckPacket)]


def put(core: SessionCore, *payloads: bytes) -> list[Publication]:
    publications = [Publication("t", payload) for payload in payloads]
    for publication in publications:
        core.publish(publication)
    return publications


def published(core: SessionCore) -> list[tuple[bytes, bool]]:
    found = [packet for packet in sent(core) if isinstance(packet, mqtt5.PublishPacket)]
    return [(packet.payload, packet.duplicate) for packet in found]


def test_one_read_yields_all_its_messages_as_one_batch() -> None:
    core = new_core()
    connect(core)
    feed(core, message(1), message(), message(2))
    batch = core.take(1024)
    assert [packet.packet_id for packet in batch.packets] == [1, None, 2]
    assert batch.connection == 1
    core.acknowledge(batch)
    assert core.output() == bytes.fromhex("4002000140020002")


def test_acknowledgements_leave_in_order_of_arrival() -> None:
    core = new_core()
    connect(core)
    feed(core, *[message(number) for number in range(1, 7)])
    first, second, third = core.take(2), core.take(2), core.take(2)
    core.acknowledge(third)
    core.acknowledge(second)
    assert acked(core) == []
    core.acknowledge(first)
    assert acked(core) == [1, 2, 3, 4, 5, 6]
    core.acknowledge(first)
    assert acked(core) == []
    assert core.counters.acknowledged == 6


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_order_of_acknowledging_gives_the_order_of_arrival(
    sizes: list[int], random: Any
) -> None:
    core = new_core()
    connect(core)
    numbers = list(range(1, sum(sizes) + 1))
    feed(core, *[message(number) for number in numbers])
    batches = [core.take(size) for size in sizes]
    random.shuffle(batches)
    seen: list[int] = []
    for batch in batches:
        core.acknowledge(batch)
        seen += acked(core)
    assert seen == numbers
    assert core.arrivals.owed == 0


def test_a_batch_of_an_earlier_connection_is_never_acknowledged() -> None:
    core = new_core()
    connect(core)
    feed(core, message(1), message(2))
    early = core.take(1024)
    connect(core, session_present=True)
    feed(core, message(1))
    core.acknowledge(early)
    assert acked(core) == []
    assert core.counters.stale_acks == 1
    core.acknowledge(core.take(1024))
    assert acked(core) == [1]


def test_messages_not_taken_come_again_only_from_a_resumed_session() -> None:
    core = new_core()
    connect(core)
    feed(core, message(1), message(payload=b"once"))
    core.stop()
    assert core.available == 0
    connect(core, session_present=True)
    assert [packet.payload for packet in core.take(9).packets] == [b"once"]

    feed(core, message(7))
    connect(core, session_present=False)
    lost = core.take(9)
    assert [packet.packet_id for packet in lost.packets] == [7]
    core.acknowledge(lost)
    assert acked(core) == []
    assert core.available == 0


def test_publications_stay_within_the_brokers_window() -> None:
    core = new_core()
    connect(core, receive_max=2)
    first, second, third = put(core, b"1", b"2", b"3")
    assert published(core) == [(b"1", False), (b"2", False)]
    assert not core.has_output
    assert first.packet_id is not None
    feed(core, mqtt5.PubAckPacket(first.packet_id))
    assert published(core) == [(b"3", False)]
    events = core.take_events()
    assert events[-1] == PublicationAnswered(first, 0, "SUCCESS")
    assert third.packet_id not in {None, second.packet_id}


def test_a_refused_publication_is_reported_and_frees_its_place() -> None:
    core = new_core()
    connect(core, receive_max=1)
    refused, _ = put(core, b"1", b"2")
    published(core)
    code = mqtt5.PubAckReasonCode.NOT_AUTHORIZED
    assert refused.packet_id is not None
    feed(core, mqtt5.PubAckPacket(refused.packet_id, reason_code=code, reason_str="no"))
    assert core.take_events()[-1] == PublicationAnswered(refused, 135, "no")
    assert core.counters.refused == 1
    assert published(core) == [(b"2", False)]


def test_unanswered_publications_go_again_with_dup_in_a_resumed_session() -> None:
    core = new_core()
    connect(core)
    one, two, _ = put(core, b"1", b"2", b"3")
    published(core)
    numbers = one.packet_id, two.packet_id
    assert two.packet_id is not None
    feed(core, mqtt5.PubAckPacket(two.packet_id))
    packets = connect(core, session_present=True, receive_max=2)
    assert [(packet.payload, packet.duplicate, packet.packet_id) for packet in packets] == [
        (b"1", True, numbers[0]),
        (b"3", True, 3),
    ]


def test_unanswered_publications_go_as_new_ones_into_a_new_session() -> None:
    core = new_core()
    connect(core, receive_max=2)
    put(core, b"1", b"2", b"3")
    published(core)
    packets = connect(core, session_present=False)
    assert [(packet.payload, packet.duplicate) for packet in packets] == [
        (b"1", False),
        (b"2", False),
        (b"3", False),
    ]


def test_all_packet_ids_in_use_make_the_next_publication_wait() -> None:
    core = new_core()
    connect(core)
    publications = put(core, *[b""] * 65_536)
    while core.has_output:
        core.output()
    assert sorted(p.packet_id for p in publications[:-1]) == list(range(1, 65_536))
    assert publications[-1].packet_id is None
    with pytest.raises(FilterError, match="65,535 packet ids"):
        core.change(Subscription(("a",), 1))
    feed(core, mqtt5.PubAckPacket(1234))
    assert core.output()
    assert publications[-1].packet_id == 1234


def test_an_oversized_publication_is_answered_and_the_next_one_sent() -> None:
    core = new_core()
    connect(core, max_packet_size=40)
    large, _ = put(core, b"x" * 40, b"small")
    assert published(core) == [(b"small", False)]
    assert Oversized(large, 48, 40) in core.take_events()
    with pytest.raises(PacketTooLargeError, match="limit of 40"):
        core.publish_once(mqtt5.PublishPacket("t", b"x" * 40))


def test_a_withdrawn_publication_is_sent_only_if_it_was_before() -> None:
    core = new_core()
    connect(core, receive_max=1)
    with_broker, waiting = put(core, b"1", b"2")
    published(core)
    core.withdraw(with_broker)
    core.withdraw(waiting)
    assert connect(core, session_present=True)[0].payload == b"1"
    assert core.unanswered == 1


def test_filters_are_renewed_only_after_a_lost_session() -> None:
    core = new_core()
    connect(core)
    core.change(Subscription(("a", "b"), 1))
    core.change(Subscription(("c",), 0))
    first, second = sent(core)
    granted = mqtt5.SubAckReasonCode
    feed(
        core,
        mqtt5.SubAckPacket(
            first.packet_id, [granted.GRANTED_QOS_AT_LEAST_ONCE, granted.NOT_AUTHORIZED]
        ),
        mqtt5.SubAckPacket(second.packet_id, [granted.GRANTED_QOS_AT_MOST_ONCE]),
    )
    refusals = [event.refused for event in core.take_events() if isinstance(event, FiltersAnswered)]
    assert refusals == [{"b": 135}, {}]
    assert core.filters == {"a": 1, "c": 0}

    assert connect(core, session_present=True) == []
    renewed = connect(core, session_present=False)
    patterns = [[entry.pattern for entry in packet.topic_filters] for packet in renewed]
    assert sorted(patterns) == [["a"], ["c"]]

    core.change(Unsubscription(("a",)))
    assert core.filters == {"c": 0}


def test_an_unanswered_subscription_is_repeated_on_the_next_connection() -> None:
    core = new_core()
    change = Subscription(("a",), 1)
    core.change(change)
    assert [packet.packet_id for packet in connect(core)] == [change.packet_id]
    assert [packet.packet_id for packet in connect(core)] == [change.packet_id]


def test_a_filter_granted_at_a_lower_quality_is_refused() -> None:
    core = new_core()
    connect(core)
    change = Subscription(("a",), 1)
    core.change(change)
    code = mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE
    feed(core, mqtt5.SubAckPacket(change.packet_id, [code]))
    assert core.take_events()[-1] == FiltersAnswered(change, {"a": 0})
    assert core.filters == {}


@pytest.mark.parametrize("pattern", ["", "a/#/b", "a\0", "x" * 70_000, "\ud800"])
def test_filters_that_mqtt_does_not_allow_are_refused_locally(pattern: str) -> None:
    with pytest.raises(FilterError):
        Subscription((pattern,), 1).encode()


def test_quality_of_service_2_is_never_asked_for() -> None:
    with pytest.raises(FilterError, match="QoS 0 or 1"):
        Subscription(("a",), 2).encode()


def test_the_brokers_answers_to_connect_become_events() -> None:
    core = new_core()
    connect(core, session_present=True, server_keep_alive=7)
    assert core.take_events() == [Accepted(session_present=True, keep_alive_s=7)]
    connect(core, reason_code=mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD)
    assert core.phase is Phase.DOWN
    assert core.take_events() == [Refused(134, "BAD_USER_NAME_OR_PASSWORD")]
    connect(core, max_qos=QOS_0)
    assert core.take_events() == [Refused(155, "it offers QoS 0 only, 1 is needed")]


def test_a_disconnect_ends_the_connection_and_the_parsing() -> None:
    core = new_core()
    connect(core)
    core.take_events()
    code = mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
    data = mqtt5.DisconnectPacket(reason_code=code).write() + b"\xff" * 10
    assert core.feed(memoryview(data)) == len(data)
    assert core.take_events() == [BrokerLeft(142, "SESSION_TAKEN_OVER")]
    assert core.phase is Phase.DOWN


VIOLATIONS = {
    "QoS 2": mqtt5.PublishPacket("a", b"", qos=QOS_2, packet_id=1).write(),
    "packet id 0": mqtt5.PublishPacket("a", b"", qos=QOS_1, packet_id=0).write(),
    "ConnAckPacket while": mqtt5.ConnAckPacket().write(),
    "PubRelPacket while": mqtt5.PubRelPacket(1).write(),
    "malformed packet of type 15": b"\xff\x00",
    "malformed packet of type 3": PANIC,
    "length of over four bytes": b"\x30\xff\xff\xff\xff\x01",
    "packet of 1048577 bytes": b"\x30\xfd\xff\x3f",
}


@codec_may_panic
@pytest.mark.parametrize("what", VIOLATIONS)
def test_a_broken_protocol_is_reported_once_and_counted(what: str) -> None:
    core = new_core()
    connect(core)
    with pytest.raises(ProtocolViolationError, match=what):
        core.feed(memoryview(message(5).write() + VIOLATIONS[what]))
    assert core.counters.malformed_connections == 1
    assert core.counters.received == 1


def test_nothing_but_connack_may_come_first() -> None:
    core = new_core()
    core.start(CONNECT)
    with pytest.raises(ProtocolViolationError, match=r"PublishPacket while .* connecting"):
        feed(core, message(1))


def test_reading_should_pause_when_too_many_messages_wait() -> None:
    core = new_core()
    connect(core)
    flood = message().write() * 32_768
    core.feed(memoryview(flood))
    assert not core.congested
    core.feed(memoryview(flood))
    assert core.congested
    core.take(1)
    assert not core.congested


PACKETS = st.one_of(
    st.integers(1, 65_535).map(message),
    st.binary(max_size=300).map(lambda payload: message(payload=payload)),
    st.integers(1, 65_535).map(mqtt5.PubAckPacket),
    st.just(mqtt5.PingRespPacket()),
    st.just(mqtt5.DisconnectPacket()),
)
STREAMS = st.tuples(st.lists(PACKETS, max_size=12), st.binary(max_size=40)).map(
    lambda parts: b"".join(packet.write() for packet in parts[0]) + parts[1]
)


def outcome(data: bytes, cuts: list[int]) -> tuple[Any, ...]:
    """Feed a stream cut at the given places, as a link does; return all that can be observed."""
    core = new_core(max_packet_bytes=1000)
    connect(core)
    put(core, b"1", b"2")
    core.output()
    core.take_events()
    error, rest = None, b""
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        rest += data[start:stop]
        try:
            rest = rest[core.feed(memoryview(rest)) :]
        except ProtocolViolationError as violation:
            error = violation.reason_code
        if error is not None or core.phase is Phase.DOWN:
            break
    answered = [
        event.publication.packet_id if isinstance(event, PublicationAnswered) else event
        for event in core.take_events()
    ]
    counters = core.counters
    batch = core.arrivals.take(10_000)
    seen = [(packet.payload, packet.packet_id) for packet in batch.packets]
    return error, seen, answered, counters.received, core.arrivals.owed, core.phase


@codec_may_panic
@given(STREAMS, st.data())
@settings(max_examples=300, deadline=None)
def test_how_the_stream_is_split_changes_nothing(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=20)))
    assert outcome(data, cuts) == outcome(data, [])


@codec_may_panic
@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=500, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_the_typed_error(data: bytes, up: bool) -> None:
    core = new_core()
    core.start(CONNECT)
    if up:
        feed(core, mqtt5.ConnAckPacket())
    try:
        used = core.feed(memoryview(data))
    except ProtocolViolationError as error:
        mqtt5.DisconnectReasonCode(error.reason_code)
    else:
        assert 0 <= used <= len(data)


@codec_may_panic
@given(PACKETS, st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), max_size=4))
@settings(max_examples=500, deadline=None)
def test_mutated_packets_raise_nothing_but_the_typed_error(
    packet: mqtt5.Packet, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(packet.write())
    for place, value in changes:
        data[place % len(data)] = value
    core = new_core()
    connect(core)
    try:
        core.feed(memoryview(data))
    except ProtocolViolationError:
        assert core.counters.malformed_connections == 1


def test_a_batch_without_order_is_stale() -> None:
    core = new_core()
    connect(core)
    core.acknowledge(Inbound([message(1)], 1))
    assert acked(core) == []
    assert core.counters.stale_acks == 1


def test_beyond_four_times_the_limit_messages_at_qos_0_are_dropped_and_counted() -> None:
    core = new_core()
    connect(core)
    core.feed(memoryview(message(payload=b"").write() * 4 * 65_536))
    assert core.counters.dropped == 0
    feed(core, message(), message(1), message())
    assert core.counters.dropped == 2
    assert core.available == 4 * 65_536 + 1
