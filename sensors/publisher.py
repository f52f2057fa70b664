"""The publisher: QoS 1 over paho-mqtt with a bounded window and nothing left unacknowledged."""

from __future__ import annotations

import random
import secrets
import time
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

from sensors.client import Protocol, client_of
from sensors.errors import BrokerUnreachableError, PublishError, PublishRefusedError
from wire.endpoint import Endpoint

__all__ = ["Protocol", "Publisher"]

PUBLISHES_BETWEEN_LOOPS = 32
REFUSED_FROM = 128
BACKOFF_CAP_S = 2.0
FIRST_CONNECTION_S = 3.0
MAX_PACKET_BYTES = 268_435_460  # MQTT 5, 1.5.5
HEADER_BYTES = 10  # of a PUBLISH without properties, at most


class Publisher:
    """A context manager that publishes at QoS 1; leaving it waits for every acknowledgement.

    `window` bounds the unacknowledged publishes; a smaller Receive Maximum of the broker bounds it
    further. A lost connection is made again, and what was not acknowledged is sent again, until
    no acknowledgement has come for `outage_s`. Entering raises BrokerUnreachableError; every other
    call raises that, or PublishRefusedError for a publish that the broker refused (MQTT 5 only).
    """

    def __init__(
        self,
        broker: str,
        *,
        protocol: Protocol = "5",
        window: int = 1000,
        outage_s: float = 30.0,
        client_id: str | None = None,
    ) -> None:
        self._endpoint = Endpoint.from_url(
            broker, client_id=client_id or f"vedette-sensors-{secrets.token_hex(4)}"
        )
        self._outage_s = outage_s
        self._window = window
        self._pending: dict[int, str] = {}
        self._since_loop = 0
        self._connected = False
        self._lost_since_s: float | None = None
        self._max_packet_bytes = MAX_PACKET_BYTES
        self._refused_connection: str | None = None
        self._refused: PublishRefusedError | None = None
        self._client = self._build_client(protocol)
        self.messages = 0
        """Publishes taken."""
        self.payload_bytes = 0
        """Bytes of their payloads."""
        self.reconnects = 0
        """Connections made after the first."""

    @property
    def unacknowledged(self) -> int:
        """Publishes that the broker has not acknowledged yet."""
        return len(self._pending)

    def __enter__(self) -> Self:
        self._connect(until_s=time.monotonic() + min(self._outage_s, FIRST_CONNECTION_S))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.drain()
        finally:
            self._client.disconnect()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send one message; waits while the window is full."""
        if len(payload) + len(topic.encode()) + HEADER_BYTES > self._max_packet_bytes:
            raise PublishError(
                f"{topic}: expected at most {self._max_packet_bytes} bytes, the broker's packet "
                f"limit, got {len(payload)}; put fewer rows in a message"
            )
        while len(self._pending) >= self._window:
            self._exchange(wait_s=1.0)
        taken = self._client.publish(topic, payload, qos=1)
        if taken.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise PublishError(f"{topic}: {paho.error_string(taken.rc)} ({len(payload)} bytes)")
        self._pending[taken.mid] = topic
        self.messages += 1
        self.payload_bytes += len(payload)
        self._since_loop += 1
        if self._since_loop >= PUBLISHES_BETWEEN_LOOPS:
            self._exchange(wait_s=0.0)

    def serve(self, wait_s: float) -> None:
        """Keep the connection alive and take acknowledgements for `wait_s` seconds."""
        until_s = time.monotonic() + wait_s
        while (remaining_s := until_s - time.monotonic()) > 0:
            self._exchange(wait_s=min(remaining_s, 1.0))

    def drain(self) -> None:
        """Wait until every publish is acknowledged."""
        while self._pending:
            self._exchange(wait_s=1.0)
        self._raise_refusal()

    def _build_client(self, protocol: Protocol) -> paho.Client:
        client = client_of(self._endpoint, protocol=protocol)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        # With this set, paho leaves the writing to loop(), which sends many packets at once.
        client.on_socket_register_write = lambda *_: None
        client.max_inflight_messages_set(self._window)
        client.max_queued_messages_set(self._window)
        return client

    def _exchange(self, *, wait_s: float) -> None:
        """Write what waits, read what came; make a lost connection again."""
        self._since_loop = 0
        code = self._client.loop(wait_s)
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS or not self._connected:
            self._reconnect()
        self._raise_refusal()

    def _reconnect(self) -> None:
        """Connect again within `outage_s` of the loss that no acknowledgement has followed yet."""
        if self._lost_since_s is None:
            self._lost_since_s = time.monotonic()
        self._connect(until_s=self._lost_since_s + self._outage_s)
        self.reconnects += 1
        if not self._pending:
            self._lost_since_s = None

    def _connect(self, *, until_s: float) -> None:
        """Try until the broker accepts; raise BrokerUnreachableError after `until_s`."""
        attempt = 0
        while not self._try_connect(until_s=until_s):
            attempt += 1
            delay_s = random.uniform(0.0, min(BACKOFF_CAP_S, 0.05 * 2.0**attempt))  # noqa: S311  # jitter
            if self._refused_connection or time.monotonic() + delay_s > until_s:
                raise self._unreachable()
            time.sleep(delay_s)

    def _try_connect(self, *, until_s: float) -> bool:
        """Open a connection and wait for the broker's answer."""
        endpoint = self._endpoint
        self._connected = False
        try:
            self._client.connect(endpoint.host, endpoint.port, keepalive=endpoint.keep_alive_s)
        except OSError:
            return False
        while not self._connected and time.monotonic() < until_s:
            if self._client.loop(0.2) is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                return False
        return self._connected

    def _unreachable(self) -> BrokerUnreachableError:
        where = f"{self._endpoint.host}:{self._endpoint.port}"
        reason = self._refused_connection or "no answer"
        return BrokerUnreachableError(
            f"expected an MQTT broker at {where}, got {reason} "
            f"({len(self._pending)} publishes unacknowledged); start it or give --broker"
        )

    def _raise_refusal(self) -> None:
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, limits: Any) -> None:
        if code.is_failure:
            self._refused_connection = str(code)
            return
        self._connected = True
        self._window = min(self._window, getattr(limits, "ReceiveMaximum", self._window))
        self._max_packet_bytes = getattr(limits, "MaximumPacketSize", MAX_PACKET_BYTES)

    def _on_disconnect(self, *_: Any) -> None:
        self._connected = False

    def _on_publish(self, _client: Any, _data: Any, mid: int, code: Any, _limits: Any) -> None:
        self._lost_since_s = None
        topic = self._pending.pop(mid, None)
        if topic is not None and code.value >= REFUSED_FROM and self._refused is None:
            self._refused = PublishRefusedError(topic, reason_code=code.value, reason=str(code))
