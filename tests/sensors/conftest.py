from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"no recordings in {DATA}")
    return DATA


class Collector:
    """Subscribes with a session of its own and keeps what comes."""

    def __init__(self, port: int, topic_filter: str) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.subscribed = threading.Event()
        self.changed = threading.Condition()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, "collector", protocol=MQTTProtocolVersion.MQTTv5
        )
        self.client.on_connect = lambda client, *_: client.subscribe(topic_filter, qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self.keep
        self.client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600
        self.client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self.client.loop_start()
        assert self.subscribed.wait(10)

    def keep(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        with self.changed:
            self.messages.append((message.topic, bytes(message.payload)))
            self.changed.notify_all()

    def wait_for(self, ready: Callable[[], bool], *, timeout_s: float = 30) -> None:
        with self.changed:
            assert self.changed.wait_for(ready, timeout_s), f"only {len(self.messages)} messages"

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def collect() -> Iterator[Callable[[int, str], Collector]]:
    opened: list[Collector] = []

    def open_collector(port: int, topic_filter: str) -> Collector:
        opened.append(Collector(port, topic_filter))
        return opened[-1]

    yield open_collector
    for collector in opened:
        collector.close()
