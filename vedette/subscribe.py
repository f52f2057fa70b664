"""The client for alert subscribers, on aiomqtt."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from typing import Literal

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from vedette.client import open_client
from vedette.errors import VedetteError
from wire.codec import decode_json
from wire.errors import WireError
from wire.messages import AlertEvent
from wire.topics import DEFAULT_ROOT, Topics, check_name

__all__ = ["SubscriptionRefusedError", "subscribe"]

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 30.0
REFUSED_FROM = 128


class SubscriptionRefusedError(VedetteError):
    """The broker does not let this client read alerts."""


async def subscribe(
    url: str,
    *,
    asset: str | None = None,
    severity: Literal["warning", "critical"] | None = None,
    root: str = DEFAULT_ROOT,
    client_id: str | None = None,
) -> AsyncIterator[AlertEvent]:
    """Yield alerts as they come, for ever; filtered by `asset` and by least `severity`.

    `url` is mqtt[s]://[user[:password]@]host[:port]. Reconnects by itself; give a stable
    `client_id` and the broker keeps alerts that come while this client is away (for a day).
    Raises aiomqtt.MqttError only when the first connection fails, SubscriptionRefusedError when the
    broker refuses, TopicError or EndpointError for what cannot be asked for. Payloads that are no
    alerts are passed over.
    """
    pattern = Topics(root).all_gateways("alerts")
    if asset is not None:
        pattern = pattern.removesuffix("+") + check_name(asset, what="asset")
    wait_s, connected = FIRST_WAIT_S, False
    while True:
        try:
            async with open_client(url, client_id=client_id) as client:
                wait_s, connected = FIRST_WAIT_S, True
                _expect_granted(pattern, await client.subscribe(pattern, qos=1))
                async for message in client.messages:
                    event = _parse(message.payload)
                    if event and severity in {None, "warning", event.data.severity}:
                        yield event
        except aiomqtt.MqttError:
            if not connected:
                raise
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _expect_granted(pattern: str, codes: Iterable[int | ReasonCode]) -> None:
    for code in codes:
        number = code if isinstance(code, int) else code.value
        if number >= REFUSED_FROM:
            raise SubscriptionRefusedError(
                f"expected a subscription to {pattern!r}, the broker refused it ({code}); "
                "check its access list"
            )


def _parse(payload: object) -> AlertEvent | None:
    try:
        return decode_json(payload, AlertEvent) if isinstance(payload, bytes) else None
    except WireError:
        return None
