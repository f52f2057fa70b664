"""What alert subscribers are told when the broker does not let them."""

from __future__ import annotations

import asyncio

import mqtt5
import pytest

from tests.brokers import ScriptedBroker
from vedette import SubscriptionRefusedError, subscribe


async def test_a_refused_subscription_is_an_error_to_its_caller() -> None:
    async with ScriptedBroker.listening() as broker:
        asking = asyncio.ensure_future(anext(subscribe(f"mqtt://127.0.0.1:{broker.port}")))
        visit = await broker.visit()
        await visit.greet()
        asked = await visit.expect(mqtt5.SubscribePacket)
        refusal = mqtt5.SubAckReasonCode.NOT_AUTHORIZED
        visit.send(mqtt5.SubAckPacket(asked.packet_id, [refusal]))
        with pytest.raises(SubscriptionRefusedError, match="access list"):
            await asking
