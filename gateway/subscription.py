"""Subscriptions that an operator may still have to allow."""

from __future__ import annotations

import asyncio
import logging

from wire.mqtt import Session, SubscribeRefusedError

__all__ = ["subscribe_until_granted"]

log = logging.getLogger("vedette.gateway")

RETRY_S = 30.0


async def subscribe_until_granted(session: Session, *filters: str) -> None:
    """Subscribe; while the broker refuses, say so and ask again every 30 s."""
    while True:
        try:
            await session.subscribe(*filters)
        except SubscribeRefusedError as error:
            log.error("%s; asking again in %.0f s", error, RETRY_S)  # noqa: TRY400 - no trace needed
            await asyncio.sleep(RETRY_S)
        else:
            return
