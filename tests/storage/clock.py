"""Wall clocks that jump, and that have never been set: event time and numbers go on regardless."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from tests.chaos.waves import row_values, time_ms
from tests.gateway.running import TOPICS, Gateway, Heard, listening, site
from tests.storage.launch import launched
from tests.storage.outcome import Outcome
from vedette.broker import free_port, start_mosquitto
from wire.blocks import SummaryBlock, decode_summaries
from wire.codec import decode_json
from wire.messages import AlertEvent, GatewayStatus
from wire.mqtt import Session

__all__ = ["CASES", "run_clocks"]

YEARS_10 = 315_576_000
UNSET = "unset"
"""A clock that begins at 1970, as without a battery."""
CASES: Mapping[str, tuple[str | int, ...]] = MappingProxyType(
    {
        "right": (0, 0),
        "ten years on": (0, YEARS_10),
        "ten years back": (0, -YEARS_10),
        "unset, then right": (UNSET, 0),
        "unset all the time": (UNSET, UNSET),
        "ten years on from the start": (YEARS_10, YEARS_10),
        "on and back again": (0, YEARS_10, -YEARS_10, 0),
        "an hour back": (0, -3600),
        "restart ten years on": (0, "restart", YEARS_10),
        "restart ten years back": (0, "restart", -YEARS_10),
        "restart unset": (0, "restart", UNSET),
        "restart of an unset one, then right": (UNSET, "restart", 0),
    }
)
"""Offsets of the clock, seconds, one a phase; `restart` kills the gateway in between."""
MORE = """
[summaries]
period_s = 20.0
least_rows = 8
most_rows = 32
idle_s = 600.0
[excerpts]
sample_rows = 8
[[source]]
match = "vedette/v1/readings/+"
[[source]]
match = "plant/+"
format = "json"
topic = "plant/{asset}"
"""
ROWS = 240
"""Rows of the sensor of our own in a case, whatever the phases."""
STATUSES_A_S, CPU_SHARE, START_S = 1.5, 0.5, 5.0
AT_ONCE = 3


@dataclass
class Case:
    """One gateway with a wrong clock."""

    folder: Path
    name: str
    outcome: Outcome
    sent: int = 0
    foreign: int = 0
    statuses: list[GatewayStatus] = field(default_factory=list)

    @property
    def offset(self) -> Path:
        return self.folder / "offset"

    def set_clock(self, offset: str | int) -> None:
        """Let the gateway's clock be wrong by so much from now on."""
        wrong = 10 - int(time.time()) if offset == UNSET else int(offset)
        draft = self.folder / "offset.part"
        draft.write_text(str(wrong), "ascii")
        draft.replace(self.offset)

    async def run(self) -> dict[str, Any]:
        """Go through the phases; return what came of the sensor's readings."""
        self.folder.mkdir(parents=True)
        (self.folder / "broker").mkdir()
        phases = CASES[self.name]
        self.set_clock(phases[0])
        began_s = time.monotonic()
        with start_mosquitto(port=free_port(), directory=self.folder / "broker") as broker:
            async with listening(broker.url) as heard, site(broker.port) as session:
                parts = [
                    list(part)
                    for is_restart, part in itertools.groupby(phases, lambda one: one == "restart")
                    if not is_restart
                ]
                left = sum(len(part) for part in parts)
                for number, part in enumerate(parts):
                    with self._gateway(broker.url) as running:
                        for offset in part:
                            self.set_clock(offset)
                            await self._send(session, heard, left)
                            left -= 1
                        if number == len(parts) - 1:
                            await self._leave(running, heard, began_s)
                return self._result(heard)

    def _gateway(self, url: str) -> contextlib.AbstractContextManager[Gateway]:
        module = ("tests.storage.wrongclock", str(self.offset), "--")
        return launched(self.folder / "gw", url, more=MORE, module=module)

    async def _send(self, session: Session, heard: Heard, phases_left: int) -> None:
        """Send this phase's share, and wait until all is taken in."""
        rows = (ROWS - self.sent) // phases_left
        await heard.until(lambda status: status.presence == "online")
        going = []
        for _ in range(rows):
            self.sent += 1
            told = {"id": ["e1", self.sent], "t": time_ms(self.sent)}
            body = json.dumps(told | {"values": row_values(0, self.sent, 2)}).encode()
            going.append(session.publish(TOPICS.readings("s0"), body))
            self.foreign += 1
            going.append(session.publish("plant/pump", json.dumps({"f": self.foreign}).encode()))
        await asyncio.gather(*going)
        wanted = 2 * self.sent + self.foreign
        await heard.until(lambda status: status.readings.get("received", 0) >= wanted)

    async def _leave(self, running: Gateway, heard: Heard, began_s: float) -> None:
        """Let everything go up, and see that nothing ran wild meanwhile."""
        used = psutil.Process(running.process.pid).cpu_times()
        cpu_s, lasted_s = used.user + used.system, time.monotonic() - began_s
        code = await asyncio.to_thread(running.stop)
        await heard.until(lambda status: status.presence == "offline")
        self._expect(code == 0, f"left with {code}")
        self._expect("Traceback" not in running.log, "a traceback in the log")
        statuses = [decode_json(body, GatewayStatus) for body in heard.on("status")]
        bound = STATUSES_A_S * lasted_s + 10
        self._expect(len(statuses) < bound, f"{len(statuses)} statuses in {lasted_s:.0f} s")
        self._expect(cpu_s < START_S + CPU_SHARE * lasted_s, f"{cpu_s:.1f} s of CPU used")
        self._expect(all(one.pending_age_s >= 0 for one in statuses), "negative ages")
        last = statuses[-1]
        self._expect(
            last.readings.get("scored") == 2 * self.sent + self.foreign,
            f"{last.readings} of {2 * self.sent + self.foreign} readings",
        )

    def _result(self, heard: Heard) -> dict[str, Any]:
        """Return alerts and summaries of the sensor, and how many of the foreign device's came."""
        alerts = [decode_json(body, AlertEvent) for body in heard.on("alerts")]
        ours = {one.id: (one.time, one.data) for one in alerts if one.subject == "s0"}
        blocks = [decode_summaries(body) for body in heard.on("summaries")]
        rows = [
            row
            for block in {(block.epoch, block.seq): block for block in blocks}.values()
            for row in rows_of(block)
        ]
        sensor = sorted(row for row in rows if row[0] == "s0")
        foreign = sum(row[4] for row in rows if row[0] == "pump")
        self._expect(foreign == self.foreign, f"{foreign} of {self.foreign} foreign readings")
        return {"alerts": ours, "summaries": sensor}

    def _expect(self, holds: object, text: str) -> None:
        self.outcome.expect(holds, f"{self.name}: {text}")


def rows_of(block: SummaryBlock) -> Iterator[tuple[str, str, int, int, int, float]]:
    """Yield asset, channel, start, end, count and mean of every summary."""
    columns = block.rows
    for at in range(columns.count.size):
        yield (
            block.assets[columns.asset[at]],
            block.channels[columns.channel[at]],
            int(columns.start_us[at]),
            int(columns.end_us[at]),
            int(columns.count[at]),
            float(columns.mean[at]),
        )


async def run_cases(folder: Path, names: list[str], outcome: Outcome) -> None:
    """Run cases a few at a time, and compare each with that of the right clock."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def run(name: str) -> dict[str, Any]:
        async with turn:
            return await Case(folder / name.replace(" ", "-"), name, outcome).run()

    results = await asyncio.gather(*map(run, names), return_exceptions=True)
    for name, result in zip(names, results, strict=True):
        if isinstance(result, BaseException):
            outcome.expect(holds=False, text=f"{name}: {result!r}")
            continue
        for part in ("alerts", "summaries"):
            same = result[part] == results[0][part]  # type: ignore[index]
            outcome.expect(same, f"{name}: other {part} than with the right clock")
            outcome.figures[f"{part} compared"] += len(result[part])
        outcome.count += 1


def run_clocks(folder: Path, count: int, seed: int) -> Outcome:
    """Run the first `count` cases; the first is that of the right clock."""
    del seed
    outcome = Outcome("clock")
    asyncio.run(run_cases(folder, list(CASES)[:count], outcome))
    return outcome
