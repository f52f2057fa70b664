"""Asks the gateway what is stored: the answer comes after the commit of all that came before."""

from __future__ import annotations

import time

import mqtt5

from benchmarks.client import Client
from benchmarks.report import BenchmarkError
from wire.codec import decode_json, encode_json
from wire.messages import ConfirmedMessage, ConfirmRequest
from wire.topics import Topics

__all__ = ["Asker"]

LONG_S = 300.0
FOREVER_S = 3600.0


class Asker:
    """A source without readings of its own."""

    def __init__(self, client: Client, *, name: str = "asker") -> None:
        self._client = client
        self._name = name
        self._asked = 0
        client.subscribe(Topics().all_gateways("confirmed"))

    def ask(self, *, again_s: float = FOREVER_S) -> float:
        """Ask, again each `again_s`, until there is an answer; return the moment it came.

        The moment is that of the monotonic clock.
        """
        deadline_s = time.monotonic() + LONG_S
        while time.monotonic() < deadline_s:
            self._asked += 1
            request = ConfirmRequest(sender=self._name, epoch="asker", first=1, last=self._asked)
            self._client.publish(Topics().confirm(self._name), encode_json(request))
            if self._is_answered(min(time.monotonic() + again_s, deadline_s)):
                return time.monotonic()
        raise BenchmarkError(f"expected an answer within {LONG_S} s")

    def _is_answered(self, until_s: float) -> bool:
        while (left_s := until_s - time.monotonic()) > 0:
            for packet in self._client.packets(left_s):
                if isinstance(packet, mqtt5.PublishPacket):
                    answer = decode_json(bytes(packet.payload), ConfirmedMessage)
                    if answer.source == self._name and answer.asked == self._asked:
                        return True
        return False
