"""Plays a script on a stage, from the first reading to the gateway's last word."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from sensors.recording import Recording
from sensors.replay import ReplayCounts, replay
from vedette.demo.background import in_daemon_thread
from vedette.demo.report import report
from vedette.demo.script import Script
from vedette.demo.stage import Stage
from vedette.demo.watch import Stopwatch, Watch
from vedette.errors import VedetteError
from wire.messages import AlertEvent, GatewayStatus
from wire.topics import Topics

__all__ = ["DemoError", "play"]

START_TIMEOUT_S = 30.0
CATCH_UP_TIMEOUT_S = 60.0


class DemoError(VedetteError):
    """Something on the stage did not do its part; quotes the end of its log."""


async def play(
    stage: Stage,
    script: Script,
    *,
    progress: Callable[[int], None],
    told: Callable[[AlertEvent], None],
    encore: AsyncIterator[Sequence[Recording]] | None = None,
) -> dict[str, Any]:
    """Replay the script and return the report; then replay what `encore` gives, until it ends."""
    watch = Watch(stage.broker.url, told)
    async with asyncio.TaskGroup() as group:
        listeners = [
            group.create_task(watch.hear_status(), name="status"),
            group.create_task(watch.hear_alerts(), name="alerts"),
        ]
        await _online(watch, stage)
        with Stopwatch(stage.broker.url) as publisher:
            counts = await _replay(script.recordings, script, publisher, progress)
            await _caught_up(watch, stage, counts.readings)
            if encore is not None:
                async for recordings in encore:
                    await _replay(recordings, script, publisher, progress)
        await asyncio.to_thread(stage.stop_gateway)
        await watch.until(lambda status: status.presence == "offline", timeout_s=START_TIMEOUT_S)
        for listener in listeners:
            listener.cancel()
    return report(counts, watch, script.recordings, publisher.published_s)


async def _replay(
    recordings: Sequence[Recording],
    script: Script,
    publisher: Stopwatch,
    progress: Callable[[int], None],
) -> ReplayCounts:
    return await in_daemon_thread(
        lambda: replay(
            recordings,
            publisher=publisher,
            topics=Topics(),
            epoch=secrets.token_hex(4),
            speed=script.speed,
            progress=progress,
        )
    )


async def _online(watch: Watch, stage: Stage) -> None:
    ready = await watch.until(lambda status: status.presence == "online", timeout_s=START_TIMEOUT_S)
    if not ready:
        raise DemoError(f"the gateway did not come up; its log ends with: {stage.last_words()}")


async def _caught_up(watch: Watch, stage: Stage, readings: int) -> None:
    def has_all(status: GatewayStatus) -> bool:
        return status.readings.get("received", 0) >= readings

    if not await watch.until(has_all, timeout_s=CATCH_UP_TIMEOUT_S):
        seen = watch.status.readings if watch.status else {}
        expected = f"expected {readings} readings at the gateway, got {seen}"
        raise DemoError(f"{expected}; its log ends with: {stage.last_words()}")
