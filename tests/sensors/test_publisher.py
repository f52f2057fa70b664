from __future__ import annotations

import math
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sensors.catalogue import open_recordings
from sensors.errors import BrokerUnreachableError, PublishError, PublishRefusedError
from sensors.publisher import Protocol, Publisher
from sensors.replay import ReplayCounts, replay
from sensors.simulate.simulation import simulate
from vedette.broker import Broker, free_port, start_mosquitto
from wire.codec import decode_readings
from wire.errors import WireError
from wire.messages import ReadingMessage
from wire.topics import Topics

Collect = Callable[[int, str], Any]
TOPICS = Topics("test/v1")


def decoded(messages: list[tuple[str, bytes]]) -> dict[str, list[ReadingMessage]]:
    found: dict[str, list[ReadingMessage]] = {}
    for topic, payload in messages:
        found.setdefault(topic, []).extend(decode_readings(payload))
    return found


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("rows_per_message", [1, 7])
def test_every_row_arrives_once_and_in_order(
    mosquitto: Broker, collect: Collect, protocol: Protocol, rows_per_message: int
) -> None:
    recordings = [simulate(rig, duration_s=300, seed=1) for rig in ("pump", "compressor")]
    collector = collect(mosquitto.port, TOPICS.all_readings())
    with Publisher(mosquitto.url, protocol=protocol) as publisher:
        counts = replay(
            recordings,
            publisher=publisher,
            topics=TOPICS,
            epoch="e",
            speed=math.inf,
            rows_per_message=rows_per_message,
        )
    collector.wait_for(lambda: len(collector.messages) == counts.messages)
    assert counts.rows == 600
    assert counts.readings == 300 * (8 + 7)
    assert counts.messages == 2 * math.ceil(300 / rows_per_message)
    assert counts.payload_bytes == sum(len(payload) for _, payload in collector.messages)
    arrived = decoded(collector.messages)
    for recording in recordings:
        mine = arrived[TOPICS.readings(recording.asset)]
        assert [message.id for message in mine] == [("e", n) for n in range(1, 301)]
        rows = list(recording.rows())
        assert [round(message.t * 1000) for message in mine] == [row.t_us for row in rows]
        assert [list(message.values.values()) for message in mine] == [row.values for row in rows]


def test_skab_arrives_whole_at_full_speed(mosquitto: Broker, collect: Collect, data: Path) -> None:
    recordings = open_recordings(data / "skab", preset="skab")
    collector = collect(mosquitto.port, TOPICS.all_readings())
    with Publisher(mosquitto.url) as publisher:
        counts = replay(recordings, publisher=publisher, topics=TOPICS, epoch="e", speed=math.inf)
    assert counts.messages == counts.rows == 32_108
    assert counts.readings == 32_108 * 8
    collector.wait_for(lambda: len(collector.messages) == 32_108)
    for messages in decoded(collector.messages).values():
        assert [message.id[1] for message in messages] == list(range(1, len(messages) + 1))


def test_rows_are_paced_by_event_time(mosquitto: Broker) -> None:
    recording = simulate("pump", duration_s=40, seed=1)
    with Publisher(mosquitto.url) as publisher:
        counts = replay([recording], publisher=publisher, topics=TOPICS, epoch="e", speed=100.0)
    assert 0.39 <= counts.elapsed_s < 5


def test_the_window_is_never_exceeded(mosquitto: Broker) -> None:
    most = 0
    with Publisher(mosquitto.url, window=5) as publisher:
        for number in range(500):
            publisher.publish(TOPICS.readings("x"), b"%d" % number)
            most = max(most, publisher.unacknowledged)
        publisher.drain()
        assert publisher.unacknowledged == 0
    assert most == 5


def test_a_broker_restart_in_mid_replay_loses_nothing(
    needs_mosquitto: None, tmp_path: Path, collect: Collect
) -> None:
    port = free_port()
    with ExitStack() as stack:
        broker = stack.enter_context(start_mosquitto(port=port, directory=tmp_path))
        collector = collect(port, TOPICS.all_readings())
        starter = threading.Thread(
            target=lambda: stack.enter_context(start_mosquitto(port=port, directory=tmp_path))
        )

        def restart(_rows: int) -> None:
            if publisher.messages >= 3000 and broker.process.poll() is None:
                collector.wait_for(lambda: len(collector.messages) >= 1000)
                broker.stop()
                starter.start()

        with Publisher(broker.url, window=200) as publisher:
            counts = replay_pump(publisher, rows=8000, progress=restart)
        starter.join()
        assert counts.messages == 8000
        assert publisher.reconnects == 1
        collector.wait_for(lambda: b'",8000]' in collector.messages[-1][1])
        assert sequence_numbers(collector) == set(range(1, 8001))


def test_what_a_crashed_broker_had_not_acknowledged_is_sent_again(
    needs_mosquitto: None, tmp_path: Path, collect: Collect
) -> None:
    port = free_port()
    with ExitStack() as stack:
        broker = stack.enter_context(start_mosquitto(port=port, directory=tmp_path))
        collector = collect(port, "x")
        with Publisher(broker.url, window=200) as publisher:
            publisher.publish("x", b"before")
            publisher.drain()
            broker.process.send_signal(signal.SIGSTOP)
            for number in range(100):
                publisher.publish("x", b"%d" % number)
            assert publisher.unacknowledged == 100
            collector.subscribed.clear()
            broker.kill()
            stack.enter_context(start_mosquitto(port=port, directory=tmp_path))
            assert collector.subscribed.wait(10)
            publisher.drain()
        assert publisher.reconnects == 1
        collector.wait_for(lambda: collector.messages[-1][1] == b"99")
        sent_again = [payload for _, payload in collector.messages if payload != b"before"]
        assert sent_again == [b"%d" % number for number in range(100)]


def replay_pump(
    publisher: Publisher, *, rows: int, progress: Callable[[int], None]
) -> ReplayCounts:
    return replay(
        [simulate("pump", duration_s=rows, seed=1)],
        publisher=publisher,
        topics=TOPICS,
        epoch="e",
        speed=math.inf,
        progress=progress,
    )


def sequence_numbers(collector: Any) -> set[int]:
    return {
        message.id[1] for _, payload in collector.messages for message in decode_readings(payload)
    }


def test_a_publish_that_the_acl_refuses_is_an_error(needs_mosquitto: None, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read #\ntopic write allowed/#\n")
    with (
        start_mosquitto(
            port=free_port(), directory=tmp_path, overrides={"acl_file": str(rules)}
        ) as broker,
        Publisher(broker.url) as publisher,
    ):
        publisher.publish("allowed/x", b"1")
        publisher.drain()
        publisher.publish("forbidden/x", b"1")
        with pytest.raises(PublishRefusedError, match="Not authorized") as caught:
            publisher.drain()
        assert (caught.value.topic, caught.value.reason_code) == ("forbidden/x", 135)


def test_a_payload_above_the_brokers_limit_is_refused_before_it_is_sent(
    mosquitto: Broker,
) -> None:
    with Publisher(mosquitto.url) as publisher:
        with pytest.raises(PublishError, match="at most 1048576 bytes"):
            publisher.publish(TOPICS.readings("x"), bytes(1_048_576))
        publisher.publish(TOPICS.readings("x"), b"1")
        assert publisher.messages == 1


def test_a_broker_that_drops_the_connection_again_and_again_is_an_error(
    mosquitto: Broker,
) -> None:
    publisher = Publisher(mosquitto.url, protocol="3.1.1", outage_s=1.0).__enter__()
    publisher.publish(TOPICS.readings("x"), bytes(2_000_000))
    with pytest.raises(BrokerUnreachableError, match="1 publishes unacknowledged"):
        publisher.drain()


def test_no_broker_is_an_error_that_names_the_address() -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    with pytest.raises(BrokerUnreachableError, match=url.removeprefix("mqtt://")):
        Publisher(url, outage_s=0.3).__enter__()


def test_a_listener_that_never_answers_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BrokerUnreachableError, match="got no answer"):
            Publisher(url, outage_s=0.5).__enter__()


def test_refused_credentials_are_told_at_once(needs_mosquitto: None, tmp_path: Path) -> None:
    options = {"allow_anonymous": "false"}
    with (
        start_mosquitto(port=free_port(), directory=tmp_path, overrides=options) as broker,
        pytest.raises(BrokerUnreachableError, match="Not authorized"),
    ):
        Publisher(broker.url, outage_s=20).__enter__()


@pytest.mark.parametrize("url", ["http://localhost", "127.0.0.1:1883", "mqtt://"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(WireError, match="expected mqtt://"):
        Publisher(url)
