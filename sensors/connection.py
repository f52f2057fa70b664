"""One connection to the broker with a session of its own, made in the background."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from sensors.client import Protocol, client_of
from sensors.errors import PublishError, PublishRefusedError, SubscriptionRefusedError
from wire.endpoint import Endpoint

__all__ = ["Connection"]

State = Literal["connecting", "open", "lost"]

REFUSED_FOR_GOOD = frozenset({132, 133, 134, 135, 138, 140, 144, 149})
"""Reason codes that the same CONNECT or PUBLISH meets again (MQTT 5, 2.4)."""
UNSPECIFIED = 128  # what paho says when it was not told
FILTERS_AT_ONCE = 100
MAX_PACKET_BYTES = 268_435_460  # MQTT 5, 1.5.5


class Connection:
    """Connects, subscribes, publishes at QoS 1, and is lost once; then make another one.

    Everything is called from one thread; only making the connection has one of its own, as
    resolving a name and reaching an address may block for seconds. Methods raise
    SubscriptionRefusedError, or PublishRefusedError for what the broker will never take.
    """

    def __init__(
        self, endpoint: Endpoint, *, protocol: Protocol, filters: list[str], window: int
    ) -> None:
        self.state: State = "connecting"
        self.reason = "no answer"
        """Why the connection was lost."""
        self.refused_for_good = False
        """Whether the broker refused it for what it would refuse again."""
        self.arrived: deque[tuple[str, bytes]] = deque()
        """Topic and payload of what came, oldest first; the owner takes it out."""
        self.window = window
        self.max_packet_bytes = MAX_PACKET_BYTES
        self._endpoint = endpoint
        self._expires = protocol == "5"
        self._filters = filters
        self._unsubscribed: set[int] = set()
        self._pending: dict[int | None, str] = {}
        self._error: Exception | None = None
        self._client = self._build_client(protocol)
        self._until_s = time.monotonic() + endpoint.connect_timeout_s
        self._dialling = threading.Thread(target=self._dial, daemon=True)
        self._dialling.start()

    @property
    def is_open(self) -> bool:
        """Whether it may publish: connected, and subscribed to every filter."""
        return self.state == "open"

    @property
    def unacknowledged(self) -> int:
        """Publishes that the broker has not acknowledged yet."""
        return len(self._pending)

    def exchange(self, wait_s: float) -> None:
        """Write what waits and read what came, for at most `wait_s` seconds."""
        if self._dialling.is_alive():
            self._dialling.join(wait_s)
        elif self.state != "lost":
            code = self._client.loop(wait_s)
            late = self.state == "connecting" and time.monotonic() > self._until_s
            if code is not MQTTErrorCode.MQTT_ERR_SUCCESS or late:
                self.state = "lost"
        if self._error is not None:
            raise self._error

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> None:
        """Hand one message over; with MQTT 5 the broker keeps it for at most `expiry_s`."""
        properties = None
        if expiry_s is not None and self._expires:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's
            properties.MessageExpiryInterval = expiry_s
        taken = self._client.publish(topic, payload, qos=1, properties=properties)
        if taken.rc is MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._pending[taken.mid] = topic
        elif taken.rc is MQTTErrorCode.MQTT_ERR_NO_CONN:
            self.state = "lost"
        else:
            raise PublishError(f"{topic}: {paho.error_string(taken.rc)} ({len(payload)} bytes)")

    def close(self) -> None:
        """Tell the broker that the connection ends."""
        if self.state == "open":
            self._client.disconnect()
            self._client.loop(0.0)
        self.state = "lost"

    def _build_client(self, protocol: Protocol) -> paho.Client:
        client = client_of(self._endpoint, protocol=protocol)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        # With this set, paho leaves the writing to loop(), which sends many packets at once.
        client.on_socket_register_write = lambda *_: None
        client.max_inflight_messages_set(0)  # no limit, and no search for the next at each PUBACK
        client.max_queued_messages_set(0)
        return client

    def _dial(self) -> None:
        endpoint = self._endpoint
        try:
            self._client.connect(endpoint.host, endpoint.port, keepalive=endpoint.keep_alive_s)
        except (OSError, ValueError) as error:  # a name that cannot be one is a ValueError
            self.reason = str(error)
            self.state = "lost"

    def _on_connect(self, client: Any, _data: Any, _flags: Any, code: Any, limits: Any) -> None:
        if code.is_failure:
            self.reason = str(code)
            self.refused_for_good = code.value in REFUSED_FOR_GOOD
            self.state = "lost"
            return
        self.window = min(self.window, getattr(limits, "ReceiveMaximum", self.window))
        self.max_packet_bytes = getattr(limits, "MaximumPacketSize", MAX_PACKET_BYTES)
        for start in range(0, len(self._filters), FILTERS_AT_ONCE):
            filters = self._filters[start : start + FILTERS_AT_ONCE]
            self._unsubscribed.add(client.subscribe([(name, 1) for name in filters])[1])

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, codes: Any, _limits: Any) -> None:
        self._unsubscribed.discard(mid)
        if refused := next((str(code) for code in codes if code.is_failure), None):
            self._error = SubscriptionRefusedError(
                f"{self._filters[0]}: expected the broker to let a source hear its confirmations, "
                f"got {refused}; allow this filter in the broker's ACL"
            )
        elif not self._unsubscribed:
            self.state = "open"

    def _on_publish(self, _client: Any, _data: Any, mid: int, code: Any, _limits: Any) -> None:
        topic = self._pending.pop(mid, None)
        if topic is not None and code.value in REFUSED_FOR_GOOD and self._error is None:
            self._error = PublishRefusedError(topic, reason_code=code.value, reason=str(code))

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.arrived.append((message.topic, bytes(message.payload)))

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if self.state != "lost":
            self.reason = "connection lost" if code.value == UNSPECIFIED else str(code)
            self.state = "lost"
