from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from wire.codec import decode_json, decode_readings, encode_json
from wire.messages import ConfirmedMessage, ConfirmRequest, ReadingMessage
from wire.topics import ConfirmTopic, ReadingsTopic, Topics

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


@dataclass
class Taken:
    """What the receiver has of one source's epoch."""

    seqs: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    stored: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)


class Receiver:
    """Plays the gateway's part: takes kept readings in order and confirms them when asked."""

    def __init__(self, port: int, *, topics: Topics, name: str = "g1") -> None:
        self.topics = topics
        self.name = name
        self.taken: dict[tuple[str, str], Taken] = {}
        self.early = 0
        self.requests = 0
        self.changed = threading.Condition()
        self.subscribed = threading.Event()
        self._port = port
        self._client: paho.Client | None = None

    def come(self) -> None:
        """Connect under the same name as before, if it was here before."""
        client = paho.Client(
            CallbackAPIVersion.VERSION2, self.name, protocol=MQTTProtocolVersion.MQTTv5
        )
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600
        filters = [(self.topics.all_readings(), 1), (self.topics.all_confirms(), 1)]
        self.subscribed.clear()
        client.on_connect = lambda client, *_: client.subscribe(filters)
        client.on_subscribe = lambda *_: self.subscribed.set()
        client.on_message = self.take
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", self._port, clean_start=False, properties=properties)
        client.loop_start()
        self._client = client
        assert self.subscribed.wait(10)

    def go(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def take(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with self.changed:
            match self.topics.parse(message.topic):
                case ReadingsTopic(source):
                    for reading in decode_readings(message.payload):
                        self.take_reading(source, reading)
                case ConfirmTopic(source):
                    answer = self.answer(decode_json(message.payload, ConfirmRequest))
                    topic = self.topics.gateway(self.name, "confirmed", source)
                    client.publish(topic, encode_json(answer), qos=1)
            self.changed.notify_all()

    def take_reading(self, source: str, reading: ReadingMessage) -> None:
        assert reading.kept
        epoch, seq = reading.id
        taken = self.taken.setdefault((source, epoch), Taken())
        if seq == taken.stored + 1:
            taken.stored = seq
            taken.seqs.append(seq)
            taken.values.append(next(iter(reading.values.values())))
        elif seq > taken.stored:
            self.early += 1

    def answer(self, request: ConfirmRequest) -> ConfirmedMessage:
        self.requests += 1
        taken = self.taken.setdefault((request.sender, request.epoch), Taken())
        if request.first > taken.stored + 1:
            taken.gaps.append((taken.stored + 1, request.first - 1))
            taken.stored = request.first - 1
        return ConfirmedMessage(
            gateway=self.name,
            source=request.sender,
            epoch=request.epoch,
            seq=taken.stored,
            asked=request.last,
        )

    def of(self, source: str) -> list[Taken]:
        """What came of a source, one an epoch that brought something, oldest first."""
        return [taken for (name, _), taken in self.taken.items() if name == source and taken.stored]

    def count(self, source: str) -> int:
        return sum(len(taken.seqs) for taken in self.of(source))

    def wait_for(self, ready: Callable[[], bool], *, timeout_s: float = 30) -> None:
        with self.changed:
            assert self.changed.wait_for(ready, timeout_s), str(self.taken)[:500]


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(port: int, *, topics: Topics, name: str = "g1") -> Receiver:
        made.append(Receiver(port, topics=topics, name=name))
        made[-1].come()
        return made[-1]

    yield make
    for receiver in made:
        receiver.go()
