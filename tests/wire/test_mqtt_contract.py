"""What the session promises, shown with a real mosquitto, a scripted broker, a bad network."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mqtt5
import pytest
import trustme

from tests.brokers import Network, ScriptedBroker, eventually
from vedette.broker import Broker, free_port, start_mosquitto
from wire.mqtt import (
    BrokerUnreachableError,
    Cause,
    Connected,
    ConnectionRefusedByBrokerError,
    ConnectionState,
    Disconnected,
    Endpoint,
    EndpointError,
    FiltersLost,
    Inbound,
    PacketTooLargeError,
    PublishRefusedError,
    PublishTopicError,
    Session,
    SessionClosedError,
    SubscribeRefusedError,
    Will,
)

QOS_1 = mqtt5.QoS.AT_LEAST_ONCE


def at(port: int, client_id: str, **settings: Any) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=port, client_id=client_id, **settings)


def session(
    endpoint: Endpoint, on_state: Callable[[ConnectionState], None] | None = None
) -> Session:
    return Session(endpoint, random=random.Random(1), on_state=on_state)


async def take(source: Session, count: int, *, linger_s: float = 0.0) -> list[Inbound]:
    """Receive at least `count` messages without acknowledging them."""
    batches: list[Inbound] = []
    async with asyncio.timeout(20):
        while sum(len(batch.packets) for batch in batches) < count:
            batches.append(await source.receive(linger_s=linger_s))
    return batches


async def take_payloads(source: Session, count: int) -> list[bytes]:
    """Receive and acknowledge at least `count` messages."""
    payloads: list[bytes] = []
    async with asyncio.timeout(20):
        while len(payloads) < count:
            batch = await source.receive()
            source.acknowledge(batch)
            payloads += [packet.payload for packet in batch.packets]
    return payloads


def message(number: int, payload: bytes = b"p") -> mqtt5.PublishPacket:
    return mqtt5.PublishPacket("t", payload, qos=QOS_1, packet_id=number)


def endings(states: list[ConnectionState]) -> list[Cause]:
    return [state.ending.cause for state in states if isinstance(state, Disconnected)]


def connections(states: list[ConnectionState]) -> list[bool]:
    return [state.session_present for state in states if isinstance(state, Connected)]


def password_line(user: str, password: str) -> str:
    """Hash a password as mosquitto_passwd does (PBKDF2 with SHA-512)."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    parts = [base64.b64encode(part).decode() for part in (salt, digest)]
    return f"{user}:$7$101${parts[0]}${parts[1]}\n"


@asynccontextmanager
async def scripted(**settings: Any) -> AsyncIterator[tuple[ScriptedBroker, Session, Any]]:
    """A session in the background, connected to a scripted broker; yields its first visit too."""
    async with (
        ScriptedBroker.listening() as broker,
        session(at(broker.port, "c", **settings)).background() as client,
    ):
        yield broker, client, await broker.visit()


async def test_a_message_is_delivered_once_and_its_puback_code_returned(broker: Broker) -> None:
    async with session(at(broker.port, "c")) as client:
        await client.subscribe("a/+")
        assert await client.publish("a/b", b"1") == 0
        assert await take_payloads(client, 1) == [b"1"]
        await client.publish("a/b", b"2", qos=0)
        assert await take_payloads(client, 1) == [b"2"]
        await client.unsubscribe("a/+")
        assert client.counters.received == 2


async def test_nobody_subscribed_is_told_to_the_publisher(mosquitto: Broker) -> None:
    async with session(at(mosquitto.port, "c")) as client:
        assert await client.publish("nobody/here", b"1") == 16


async def test_a_broken_connection_is_resumed_with_what_came_meanwhile(mosquitto: Broker) -> None:
    states: list[ConnectionState] = []
    async with (
        Network.before(mosquitto.port) as network,
        session(at(mosquitto.port, "other")) as other,
        session(at(network.port, "c"), states.append) as client,
    ):
        await client.subscribe("t")
        network.cut()
        await other.publish("t", b"meanwhile")
        assert await take_payloads(client, 1) == [b"meanwhile"]
        await eventually(lambda: connections(states) == [False, True])
    assert endings(states) == [Cause.HUNG_UP, Cause.CLOSED]
    assert client.counters.resumed == 1


async def test_unacknowledged_messages_come_again_and_acknowledged_ones_do_not(
    mosquitto: Broker,
) -> None:
    states: list[ConnectionState] = []
    async with (
        Network.before(mosquitto.port) as network,
        session(at(network.port, "c"), states.append) as client,
    ):
        await client.subscribe("t")
        for number in range(4):
            await client.publish("t", b"%d" % number)
        held = [await client.receive(limit=2) for _ in range(2)]
        client.acknowledge(held[0])
        assert await client.publish("t", b"4") == 0  # the broker has seen the acknowledgements
        network.cut()
        await eventually(lambda: connections(states) == [False, True])
        again = await take(client, 3)
        packets = [packet for batch in again for packet in batch.packets]
        assert [(packet.payload, packet.duplicate) for packet in packets] == [
            (b"2", True),
            (b"3", True),
            (b"4", True),
        ]
        client.acknowledge(held[1])
        assert client.counters.stale_acks == 1


async def test_retained_messages_come_for_new_subscriptions_only(mosquitto: Broker) -> None:
    async with session(at(mosquitto.port, "c")) as client:
        await client.publish("kept/1", b"1", retain=True)
        await client.subscribe("kept/+")
        (batch,) = await take(client, 1)
        assert batch.packets[0].retain
        client.acknowledge(batch)
        await client.publish("kept/2", b"2", retain=True)
        assert await take_payloads(client, 1) == [b"2"]
    async with session(at(mosquitto.port, "c")) as client:
        await client.subscribe("kept/+")
        await client.publish("kept/3", b"3")
        assert await take_payloads(client, 1) == [b"3"]


async def test_a_takeover_is_reported_and_not_fought_over(mosquitto: Broker) -> None:
    states: list[ConnectionState] = []
    async with (
        session(at(mosquitto.port, "same"), states.append),
        session(at(mosquitto.port, "same")) as second,
    ):
        await eventually(lambda: Cause.TAKEN_OVER in endings(states))
        ended = states[-1]
        assert isinstance(ended, Disconnected)
        assert ended.retry_in_s is not None
        assert ended.retry_in_s >= 15
        assert await second.publish("t", b"") == 16
        assert second.counters.connects <= 7


async def test_a_takeover_that_the_broker_declares_is_reported_at_once() -> None:
    states: list[ConnectionState] = []
    async with (
        ScriptedBroker.listening() as broker,
        session(at(broker.port, "c"), states.append).background(),
    ):
        visit = await broker.visit()
        await visit.greet()
        code = mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
        visit.send(mqtt5.DisconnectPacket(reason_code=code))
        await eventually(lambda: endings(states) == [Cause.TAKEN_OVER])
        ended = states[-1]
        assert isinstance(ended, Disconnected)
        assert ended.ending.reason_code == 142
        assert ended.retry_in_s is not None
        assert ended.retry_in_s >= 15


async def test_what_the_access_list_denies_is_an_error_of_its_caller(
    needs_mosquitto: None, broker_directory: Path
) -> None:
    rules = broker_directory / "acl"
    rules.write_text("topic readwrite open/#\n")
    rules.chmod(0o700)
    with start_mosquitto(
        port=free_port(), directory=broker_directory, overrides={"acl_file": str(rules)}
    ) as broker:
        async with session(at(broker.port, "c")) as client:
            await client.subscribe("open/#")
            with pytest.raises(PublishRefusedError, match="closed/x") as refused:
                await client.publish("closed/x", b"1")
            assert refused.value.reason_code == 135
            assert await client.publish("open/x", b"1") == 0
            assert client.counters.refused == 1


async def test_a_wrong_password_is_refused_at_once(
    needs_mosquitto: None, broker_directory: Path
) -> None:
    passwords = broker_directory / "passwords"
    passwords.write_text(password_line("me", "right"))
    passwords.chmod(0o700)
    overrides = {"password_file": str(passwords), "allow_anonymous": "false"}
    with start_mosquitto(
        port=free_port(), directory=broker_directory, overrides=overrides
    ) as broker:
        async with session(at(broker.port, "c", username="me", password="right")) as client:
            assert await client.publish("t", b"") == 16
        with pytest.raises(ConnectionRefusedByBrokerError, match="user name") as refused:
            async with session(at(broker.port, "c", username="me", password="wrong")):
                pass
        assert refused.value.reason_code == 135


async def test_tls_and_passwords_work_together(
    needs_mosquitto: None, broker_directory: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(broker_directory / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(broker_directory / "broker.pem")
    (broker_directory / "passwords").write_text(password_line("me", "right"))
    overrides = {
        "certfile": str(broker_directory / "broker.pem"),
        "keyfile": str(broker_directory / "broker.pem"),
        "password_file": str(broker_directory / "passwords"),
        "allow_anonymous": "false",
    }
    with start_mosquitto(
        port=free_port(), directory=broker_directory, overrides=overrides
    ) as broker:
        url = f"mqtts://me:right@127.0.0.1:{broker.port}"
        ca_file = broker_directory / "ca.pem"
        async with session(Endpoint.from_url(url, client_id="c", ca_file=ca_file)) as client:
            await client.subscribe("t")
            await client.publish("t", b"x" * 500_000)
            assert [len(payload) for payload in await take_payloads(client, 1)] == [500_000]
        untrusting = Endpoint.from_url(url, client_id="c", connect_timeout_s=0.5)
        with pytest.raises(BrokerUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            async with session(untrusting):
                pass


async def test_every_publish_is_answered_across_kills_of_the_broker(
    needs_mosquitto: None, broker_directory: Path
) -> None:
    port, states = free_port(), list[ConnectionState]()
    with start_mosquitto(port=port, directory=broker_directory) as broker:
        client = session(at(port, "c"), states.append)
        await client.__aenter__()
        publishing = asyncio.gather(*[client.publish(f"t/{n}", b"x" * 100) for n in range(5000)])
        await eventually(lambda: client.counters.published > 100)
        broker.kill()
    try:
        for _ in range(2):
            with start_mosquitto(port=port, directory=broker_directory) as broker:
                before = len(connections(states))
                await eventually(lambda before=before: len(connections(states)) > before)
                broker.kill()
        with start_mosquitto(port=port, directory=broker_directory):
            async with asyncio.timeout(30):
                codes = await publishing
    finally:
        await client.__aexit__(None, None, None)
    assert len(codes) == 5000
    assert set(codes) <= {0, 16}
    assert client.counters.connects >= 2


async def test_a_session_that_the_broker_forgot_is_subscribed_anew(
    needs_mosquitto: None, broker_directory: Path
) -> None:
    port, states = free_port(), list[ConnectionState]()
    forgetful = {"persistence": "false"}
    async with session(at(port, "c"), states.append).background() as client:
        with start_mosquitto(port=port, directory=broker_directory, overrides=forgetful):
            await client.subscribe("t", "u")
        with start_mosquitto(port=port, directory=broker_directory, overrides=forgetful):
            await eventually(lambda: connections(states) == [False, False])
            await client.publish("u", b"after")
            assert await take_payloads(client, 1) == [b"after"]


async def test_an_oversized_message_is_refused_here_and_the_broker_spares_us_its_own(
    mosquitto: Broker,
) -> None:
    async with (
        session(at(mosquitto.port, "large")) as large,
        session(at(mosquitto.port, "small", max_packet_bytes=1000)) as small,
    ):
        with pytest.raises(PacketTooLargeError, match="1048576"):
            await large.publish("t", bytes(1_048_576))
        with pytest.raises(PacketTooLargeError, match="1048576"):
            await large.publish("t", bytes(1_048_576), qos=0)
        await small.subscribe("t")
        await large.publish("t", bytes(5000))
        await large.publish("t", b"fits")
        assert await take_payloads(small, 1) == [b"fits"]
        assert small.counters.connects == large.counters.connects == 1


async def test_65534_messages_in_flight_are_held_and_then_acknowledged_in_order(
    mosquitto: Broker,
) -> None:
    total = 65_534  # mosquitto takes 65,535, the largest window of MQTT, for none at all
    async with (
        Network.before(mosquitto.port) as network,
        session(at(mosquitto.port, "other")) as other,
        session(at(network.port, "c", receive_max=total)) as client,
    ):
        await client.subscribe("t")
        await asyncio.gather(*[other.publish("t", b"%d" % n) for n in range(total + 50)])
        held = await take(client, total)
        payloads = [packet.payload for batch in held for packet in batch.packets]
        assert payloads == [b"%d" % number for number in range(total)]
        for batch in reversed(held):
            client.acknowledge(batch)
        rest = await take_payloads(client, 50)
        assert rest == [b"%d" % number for number in range(total, total + 50)]
        assert await client.publish("t", b"last") == 0  # all acknowledgements have arrived
        network.cut()
        assert await take_payloads(client, 1) == [b"last"]
        assert client.counters.received <= total + 52


async def test_a_peer_that_fell_silent_is_noticed(mosquitto: Broker) -> None:
    states: list[ConnectionState] = []
    async with (
        Network.before(mosquitto.port) as network,
        session(at(network.port, "c", keep_alive_s=1), states.append) as client,
    ):
        network.black_hole = True
        await eventually(lambda: Cause.PEER_SILENT in endings(states), timeout_s=4)
        network.black_hole = False
        network.cut()
        async with asyncio.timeout(10):
            assert await client.publish("t", b"") == 16


async def test_keep_alive_holds_an_idle_connection(mosquitto: Broker) -> None:
    states: list[ConnectionState] = []
    async with session(at(mosquitto.port, "c", keep_alive_s=1), states.append) as client:
        heard = client.counters.bytes_in
        await eventually(lambda: client.counters.bytes_in >= heard + 3 * 2)
        assert endings(states) == []


async def test_acknowledgements_reach_the_broker_in_order_of_arrival() -> None:
    async with scripted() as (_, client, visit):
        await visit.greet()
        visit.send(*[message(number) for number in (5, 4, 9)])
        batches = [await client.receive(limit=1) for _ in range(3)]
        for batch in (batches[2], batches[0], batches[1]):
            client.acknowledge(batch)
        answers = [await visit.expect(mqtt5.PubAckPacket) for _ in range(3)]
        assert [answer.packet_id for answer in answers] == [5, 4, 9]


async def test_the_brokers_receive_maximum_is_kept() -> None:
    async with scripted() as (_, client, visit):
        await visit.greet(receive_max=3)
        publishing = [asyncio.create_task(client.publish("t", b"%d" % n)) for n in range(5)]
        sent = [await visit.expect(mqtt5.PublishPacket) for _ in range(3)]
        assert await visit.is_silent()
        visit.send(mqtt5.PubAckPacket(sent[1].packet_id))
        assert (await visit.expect(mqtt5.PublishPacket)).payload == b"3"
        assert await visit.is_silent()
        assert [task.done() for task in publishing] == [False, True, False, False, False]
        for packet in (sent[0], sent[2]):
            visit.send(mqtt5.PubAckPacket(packet.packet_id))
        last = await visit.expect(mqtt5.PublishPacket)
        visit.send(mqtt5.PubAckPacket(last.packet_id), mqtt5.PubAckPacket(4))
        await asyncio.gather(*publishing)


async def test_our_receive_maximum_is_announced_and_seen_as_a_stall() -> None:
    async with scripted(receive_max=10) as (_, client, visit):
        connect = await visit.greet()
        assert connect.receive_max == 10
        for _ in range(3):
            visit.send(*[message(number) for number in range(1, 11)])
            async with asyncio.timeout(5):
                batch = await client.receive(linger_s=60)
            assert len(batch.packets) == 10
            client.acknowledge(batch)


async def test_a_broker_that_exceeds_our_receive_maximum_is_borne_with(mosquitto: Broker) -> None:
    async with session(at(mosquitto.port, "c", receive_max=10)) as client:
        await client.subscribe("t")
        publishing = asyncio.gather(*[client.publish("t", b"%d" % n) for n in range(500)])
        assert await take_payloads(client, 500) == [b"%d" % n for n in range(500)]
        await publishing
        assert client.counters.connects == 1


async def test_a_window_that_the_broker_keeps_to_itself_is_learned() -> None:
    async with scripted() as (_, client, visit):
        await visit.greet()
        for cycle in range(6):
            visit.send(*[message(cycle * 20 + number) for number in range(1, 21)])
            linger_s = 0.05 if cycle == 0 else 60.0
            async with asyncio.timeout(5):
                batch = await client.receive(linger_s=linger_s)
            assert len(batch.packets) == 20
            client.acknowledge(batch)
            for _ in range(20):
                await visit.expect(mqtt5.PubAckPacket)


async def test_lingering_gathers_what_comes_in_time() -> None:
    async with scripted() as (_, client, visit):
        await visit.greet()
        visit.send(message(1))
        gathering = asyncio.create_task(client.receive(linger_s=30, limit=3))
        await eventually(lambda: client.counters.received == 1)
        visit.send(message(2))
        await eventually(lambda: client.counters.received == 2)
        assert not gathering.done()
        visit.send(message(3))
        assert len((await gathering).packets) == 3


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x30\xfd\xff\x3f", 149),
        (b"\x20\x03\x00\x00\x00", 130),
        (b"\x34\x06\x00\x01t\x00\x01\x00", 155),
        (b"\x30\x05\x00\x32abc", 129),
    ],
    ids=["too large", "a second CONNACK", "QoS 2", "malformed"],
)
async def test_a_broken_protocol_ends_the_connection_with_its_reason(
    data: bytes, code: int
) -> None:
    async with scripted() as (broker, client, visit):
        await visit.greet()
        visit.send_bytes(message(1).write() + data)
        farewell = await visit.expect(mqtt5.DisconnectPacket)
        assert farewell.reason_code == code
        again = await broker.visit()
        await again.greet(session_present=True)
        again.send(message(1))
        assert len((await client.receive()).packets) == 1
        assert client.counters.malformed_connections == 1


async def test_a_flood_at_qos_0_stops_the_reading_but_no_publish() -> None:
    flood = mqtt5.PublishPacket("t", b"x" * 100).write() * 20_000
    async with scripted() as (_, client, visit):
        await visit.greet()
        for _ in range(20):
            visit.send_bytes(flood)
        await eventually(lambda: client.counters.received >= 65_536)
        received = client.counters.received
        assert received < 80_000
        publishing = asyncio.create_task(client.publish("t", b""))
        number = (await visit.expect(mqtt5.PublishPacket)).packet_id
        visit.send(mqtt5.PubAckPacket(number))
        async with asyncio.timeout(20):
            assert await publishing == 0


async def test_reading_goes_on_after_a_flood_was_taken() -> None:
    flood = mqtt5.PublishPacket("t", b"x" * 100).write() * 20_000
    async with scripted() as (_, client, visit):
        await visit.greet()
        for _ in range(8):
            visit.send_bytes(flood)
        taken = 0
        async with asyncio.timeout(20):
            while taken < 160_000:
                taken += len((await client.receive()).packets)
        assert taken == 160_000


async def test_a_gateway_may_start_before_its_network(
    needs_mosquitto: None, broker_directory: Path
) -> None:
    port, states = free_port(), list[ConnectionState]()
    async with session(at(port, "c"), states.append).background() as client:
        waiting = [
            asyncio.create_task(client.subscribe("t")),
            asyncio.create_task(client.publish("t", b"early")),
            asyncio.create_task(client.publish("t", b"once", qos=0)),
        ]
        await eventually(lambda: endings(states)[:2] == [Cause.UNREACHABLE] * 2)
        with start_mosquitto(port=port, directory=broker_directory):
            async with asyncio.timeout(15):
                await asyncio.gather(*waiting)
            assert sorted(await take_payloads(client, 2)) == [b"early", b"once"]


async def test_no_broker_is_an_error_that_says_where() -> None:
    port = free_port()
    with pytest.raises(BrokerUnreachableError, match=f"127.0.0.1:{port}.*check that it runs"):
        async with session(at(port, "c", connect_timeout_s=0.3)):
            pass


async def test_a_broker_that_never_answers_is_unreachable() -> None:
    async with ScriptedBroker.listening() as broker:
        with pytest.raises(BrokerUnreachableError, match="no CONNACK in time"):
            async with session(at(broker.port, "c", connect_timeout_s=0.2)):
                pass


async def test_a_later_refusal_is_reported_and_retried_slowly() -> None:
    states: list[ConnectionState] = []
    async with (
        ScriptedBroker.listening() as broker,
        session(at(broker.port, "c"), states.append).background(),
    ):
        visit = await broker.visit()
        await visit.greet()
        visit.send(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.QUOTA_EXCEEDED))
        visit = await broker.visit()
        await visit.greet(reason_code=mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD)
        await eventually(lambda: endings(states) == [Cause.CLOSED_BY_BROKER, Cause.REFUSED])
        refused = states[-1]
        assert isinstance(refused, Disconnected)
        assert refused.ending.reason_code == 134
        assert refused.retry_in_s is not None
        assert refused.retry_in_s >= 15


async def test_filters_refused_at_their_renewal_are_reported() -> None:
    states: list[ConnectionState] = []
    code = mqtt5.SubAckReasonCode
    async with (
        ScriptedBroker.listening() as broker,
        session(at(broker.port, "c"), states.append).background() as client,
    ):
        visit = await broker.visit()
        await visit.greet()
        subscribing = asyncio.create_task(client.subscribe("t"))
        number = (await visit.expect(mqtt5.SubscribePacket)).packet_id
        visit.send(mqtt5.SubAckPacket(number, [code.GRANTED_QOS_AT_LEAST_ONCE]))
        await subscribing
        visit.close()
        visit = await broker.visit()
        await visit.greet(session_present=False)
        number = (await visit.expect(mqtt5.SubscribePacket)).packet_id
        visit.send(mqtt5.SubAckPacket(number, [code.NOT_AUTHORIZED]))
        await eventually(lambda: FiltersLost((("t", 135),)) in states)


async def test_a_refused_filter_is_an_error_of_its_caller() -> None:
    async with scripted() as (_, client, visit):
        await visit.greet()
        subscribing = asyncio.create_task(client.subscribe("yes", "no"))
        number = (await visit.expect(mqtt5.SubscribePacket)).packet_id
        code = mqtt5.SubAckReasonCode
        visit.send(
            mqtt5.SubAckPacket(number, [code.GRANTED_QOS_AT_LEAST_ONCE, code.NOT_AUTHORIZED])
        )
        with pytest.raises(SubscribeRefusedError, match=r"'no' \(135\)") as refused:
            await subscribing
        assert refused.value.refused == {"no": 135}


async def test_the_brokers_own_keep_alive_is_obeyed() -> None:
    async with scripted(keep_alive_s=600) as (_, _, visit):
        await visit.greet(server_keep_alive=1)
        await visit.expect(mqtt5.PingReqPacket)


async def test_closing_tells_everyone_who_waits() -> None:
    async with ScriptedBroker.listening() as broker:
        async with session(at(broker.port, "c")).background() as client:
            visit = await broker.visit()
            await visit.greet()
            waiting = [
                asyncio.create_task(client.publish("t", b"")),
                asyncio.create_task(client.subscribe("t")),
                asyncio.create_task(client.receive()),
            ]
            await visit.expect(mqtt5.SubscribePacket)
            await visit.expect(mqtt5.PublishPacket)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [SessionClosedError] * 3
        with pytest.raises(SessionClosedError):
            await client.publish("t", b"")


async def test_a_cancelled_publish_leaves_the_window_intact() -> None:
    async with scripted() as (_, client, visit):
        await visit.greet(receive_max=1)
        first = asyncio.create_task(client.publish("t", b"1"))
        number = (await visit.expect(mqtt5.PublishPacket)).packet_id
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.publish("t", b"never sent")
        second = asyncio.create_task(client.publish("t", b"2"))
        visit.send(mqtt5.PubAckPacket(number))
        assert await first == 0
        packet = await visit.expect(mqtt5.PublishPacket)
        assert packet.payload == b"2"
        visit.send(mqtt5.PubAckPacket(packet.packet_id))
        assert await second == 0


async def test_the_will_is_published_when_the_client_breaks_off(mosquitto: Broker) -> None:
    async with (
        Network.before(mosquitto.port) as network,
        session(at(mosquitto.port, "watcher")) as watcher,
    ):
        await watcher.subscribe("status")
        endpoint = at(network.port, "c", will=Will("status", b"gone"))
        async with session(endpoint):
            network.cut()
            assert await take_payloads(watcher, 1) == [b"gone"]
        assert watcher.counters.received == 1


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0", "x" * 65_536, "\ud800"])
async def test_topics_that_mqtt_does_not_allow_are_refused_locally(topic: str) -> None:
    async with scripted() as (_, client, _):
        with pytest.raises(PublishTopicError):
            await client.publish(topic, b"")


async def test_a_missing_certificate_is_an_error_at_the_start(tmp_path: Path) -> None:
    endpoint = at(1, "c", tls=True, ca_file=tmp_path / "none.pem")
    with pytest.raises(EndpointError, match=r"none\.pem"):
        async with session(endpoint).background():
            pass
