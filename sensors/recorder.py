"""The recorder: every message of a topic filter, appended to a file before it is acknowledged."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from sensors.client import client_of
from sensors.errors import BrokerUnreachableError, RecordingError, SubscriptionRefusedError
from sensors.keptfile import sync_folder
from sensors.recorded import RecordedMessage, recorded
from wire.endpoint import Endpoint

__all__ = ["Recorder", "RecordingFile", "lasting_client_id"]

SESSION_EXPIRY_S = 3600
LASTING_EXPIRY_S = 7 * 86_400
RECONNECT_S = 1.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that is not acknowledged yet."""

    mid: int
    qos: int
    message: RecordedMessage


class RecordingFile:
    """A JSON-lines file to append to; a line torn by a crash is cut off when it is opened.

    With `synced`, lines are on the disk when `append` returns, otherwise with the operating system.
    Raises RecordingError when it cannot be written.
    """

    def __init__(self, path: Path, *, synced: bool = False) -> None:
        self.path = path
        self._synced = synced
        self.messages = 0
        """Messages appended since it was opened."""
        try:
            cut_torn_line(path)
            self._file: FileIO = path.open("ab", buffering=0)
            if synced:
                sync_folder(path.parent)
        except OSError as error:
            raise self._unwritable(error) from error
        self._encoder = msgspec.json.Encoder()

    def append(self, messages: list[RecordedMessage]) -> None:
        """Write whole lines; raise RecordingError when the operating system refuses them."""
        left = memoryview(self._encoder.encode_lines(messages))
        try:
            while left:
                left = left[self._file.write(left) :]
            self.messages += len(messages)
            if self._synced and messages and self.path.is_file():
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Bring the file to the disk and close it."""
        if self.path.is_file():
            os.fsync(self._file.fileno())
        self._file.close()

    def _unwritable(self, error: OSError) -> RecordingError:
        return RecordingError(self.path, expected="a file to append to", got=str(error))


def lasting_client_id(path: Path, *, topic_filter: str) -> str:
    """Return the same name for each recording of this filter to this file on this machine."""
    place = f"{socket.gethostname()}\n{path.resolve()}\n{topic_filter}"
    return f"vedette-record-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def cut_torn_line(path: Path) -> None:
    """Cut what follows the last line end of an existing file."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - 65_536)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                position = start + found + 1
                break
            position = start
        file.truncate(position)


class Recorder:
    """A context manager that appends the messages of a topic filter to a recording file.

    A message is acknowledged once its line is written. The session outlives a lost connection by
    an hour; with a `client_id` of its own it also outlives this process, by a week. Entering
    raises BrokerUnreachableError, or SubscriptionRefusedError.
    """

    def __init__(
        self,
        broker: str,
        *,
        topic_filter: str,
        file: RecordingFile,
        client_id: str | None = None,
    ) -> None:
        self._endpoint = Endpoint.from_url(
            broker, client_id=client_id or f"vedette-record-{secrets.token_hex(4)}"
        )
        self._expiry_s = SESSION_EXPIRY_S if client_id is None else LASTING_EXPIRY_S
        self._filter = topic_filter
        self._file = file
        self._arrived: list[Delivery] = []
        self._subscribed = False
        self._refused: str | None = None
        self._client = self._build_client()

    def __enter__(self) -> Self:
        where = f"{self._endpoint.host}:{self._endpoint.port}"
        until_s = time.monotonic() + self._endpoint.connect_timeout_s
        try:
            self._connect()
        except OSError as error:
            raise BrokerUnreachableError(
                f"expected an MQTT broker at {where}, got {error}; start it or give --broker"
            ) from error
        while not self._subscribed and self._refused is None and time.monotonic() < until_s:
            self._client.loop(0.2)
        if self._refused is not None:
            raise SubscriptionRefusedError(f"{self._filter}: {where} answered {self._refused}")
        if not self._subscribed:
            raise BrokerUnreachableError(f"expected an MQTT 5 broker at {where}, got no answer")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()

    def serve(self, wait_s: float) -> int:
        """Record what comes within `wait_s`, return as soon as something did, with its count."""
        if self._client.loop(wait_s) is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._reconnect()
        taken, self._arrived = self._arrived, []
        self._file.append([delivery.message for delivery in taken])
        for delivery in taken:
            self._client.ack(delivery.mid, delivery.qos)
        return len(taken)

    def forget(self) -> None:
        """Disconnect for good: the broker keeps nothing that comes later for this recorder."""
        properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]  # paho's
        properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)

    def _build_client(self) -> paho.Client:
        client = client_of(self._endpoint, protocol="5")
        client.manual_ack_set(True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _connect(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
        properties.SessionExpiryInterval = self._expiry_s
        endpoint = self._endpoint
        self._client.connect(
            endpoint.host,
            endpoint.port,
            keepalive=endpoint.keep_alive_s,
            clean_start=False,
            properties=properties,
        )

    def _reconnect(self) -> None:
        """Try once; the next call of `serve` tries again."""
        try:
            self._connect()
        except OSError:
            time.sleep(RECONNECT_S)

    def _on_connect(self, client: Any, _data: Any, _flags: Any, code: Any, _limits: Any) -> None:
        if code.is_failure:
            self._refused = str(code)
        else:
            client.subscribe(self._filter, qos=1)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, codes: Any, _limits: Any) -> None:
        self._subscribed = True
        self._refused = next((str(code) for code in codes if code.is_failure), None)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        kept = recorded(
            message.topic, payload=bytes(message.payload), arrived_ms=time.time_ns() // 1000 / 1000
        )
        self._arrived.append(Delivery(message.mid, message.qos, kept))
