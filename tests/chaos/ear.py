"""Hears what is published, so that a scenario goes on as soon as something has been said."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

__all__ = ["Ear", "listening"]

PATIENCE_S = 20.0


@dataclass
class Ear:
    """Messages by topic and payload, as they came."""

    said: list[tuple[str, bytes]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def hear(self, topic: str, payload: bytes) -> None:
        """Take a message."""
        with self._changed:
            self.said.append((topic, payload))
            self._changed.notify_all()

    def until(
        self,
        kind: str,
        holds: Callable[[Any], object] = lambda _: True,
        *,
        count: int = 1,
        timeout_s: float = PATIENCE_S,
    ) -> None:
        """Wait for so many messages below `kind` whose JSON the condition holds for.

        Raises AssertionError when they do not come in time.
        """
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while sum(self._fits(kind, holds, *message) for message in self.said) < count:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    raise AssertionError(f"{kind} was never said so; heard {len(self.said)}")
                self._changed.wait(left_s)

    def forget(self) -> None:
        """Wait for what comes from now on."""
        with self._changed:
            self.said.clear()

    def _fits(self, kind: str, holds: Callable[[Any], object], topic: str, payload: bytes) -> bool:
        if f"/{kind}" not in topic or not payload:
            return False
        return bool(holds(json.loads(payload) if payload[:1] in b"{[" else payload))


@contextlib.contextmanager
def listening(port: int) -> Iterator[Ear]:
    """Hear everything below the root for as long as the context lasts, over reconnections."""
    ear = Ear()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda client, *_: client.subscribe("vedette/v1/#", qos=1)
    client.on_message = lambda _client, _data, message: ear.hear(message.topic, message.payload)
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert subscribed.wait(PATIENCE_S)
        yield ear
    finally:
        client.disconnect()
        client.loop_stop()
