"""The whole chain on one machine: producers, broker at its worst, gateway and cloud."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.checker import Report, check
from tests.chaos.ear import listening
from tests.chaos.producer import ENOUGH, LOG
from tests.chaos.program import Program
from vedette.broker import find_mosquitto, free_port

__all__ = ["Plan", "Stage", "StuckError", "open_stage"]

POLL_S = 0.02
ANSWER_S = 2.0
EXPECTED = {"cloud": (4,), "producer": (0, -9)}
"""Exit codes of those who may leave: a cloud that finds no broker, a producer that is done."""
MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 1800
max_queued_messages 1000
user root
"""
GATEWAY = """\
[gateway]
id = "edge"
[site]
url = "{url}"
keep_alive_s = 5
[summaries]
period_s = 30.0
least_rows = 16
most_rows = 64
[excerpts]
history_rows = 128
sample_every = 512
sample_rows = 16
{more}
"""


class StuckError(AssertionError):
    """Something that had to happen did not, in good time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much the producer takes, and how it sends it."""

    sources: int = 2
    channels: int = 5
    rows: int = 400
    """Rows of every source."""
    rate: float = 0.0
    """Rows a second of all sources together; 0 = as fast as it can."""
    rows_per_message: int = 4
    is_foreign: bool = False
    """Whether the producer is a device that keeps nothing."""

    @property
    def readings(self) -> int:
        """How many readings that makes."""
        return self.sources * self.channels * self.rows


@dataclass
class Stage:
    """Four programs in one folder. Where they listen and what they keep outlives each of them."""

    folder: Path
    plan: Plan
    port: int
    broker: Program
    gateway: Program
    cloud: Program
    producer: Program
    findings: list[str] = field(default_factory=list)

    @property
    def programs(self) -> dict[str, Program]:
        """All of them by name."""
        four = (self.broker, self.gateway, self.cloud, self.producer)
        return {program.name: program for program in four}

    @property
    def log(self) -> Path:
        """The producer's log of what it took."""
        return self.folder / LOG

    @property
    def database(self) -> Path:
        """The cloud's database."""
        return self.folder / "cloud.sqlite"

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.folder / "gateway.toml"

    def start_broker(self) -> None:
        """Start the broker and wait until it accepts connections."""
        self.broker.start()
        self.until(self._is_listening, "the broker never listened")

    def start(self) -> None:
        """Start all that does not run; the cloud first, so that it hears everything."""
        if not self.broker.is_running:
            self.start_broker()
        for program in (self.cloud, self.gateway, self.producer):
            if not program.is_running:
                program.kill()
                program.start()

    def tend(self, *names: str) -> None:
        """Start again what has left by itself: these programs, or all but the producer."""
        for name in names or ("broker", "gateway", "cloud"):
            self.programs[name].tend()

    def until(
        self,
        condition: Callable[[], Any],
        fault: str,
        *,
        timeout_s: float = 30.0,
        tended: tuple[str, ...] = (),
    ) -> None:
        """Poll until the condition holds; raise StuckError with the fault in words."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                raise StuckError(f"{fault} within {timeout_s:g} s ({self.folder})")
            if tended:
                self.tend(*tended)
            time.sleep(POLL_S)

    def enough(self) -> None:
        """Let the producer take no more."""
        (self.folder / ENOUGH).touch()

    def finish(self, *, timeout_s: float = 60.0) -> None:
        """Let everything arrive: producer, then gateway, then cloud; what gets stuck is told."""
        try:
            self._drain_producer(timeout_s)
            if self.plan.is_foreign:
                self._drain_broker(timeout_s)
            self._drain_gateway(timeout_s)
        except AssertionError as stuck:
            self.findings.append(str(stuck))
        self.close()

    def close(self) -> None:
        """End whatever still runs, the cloud in order."""
        if self.cloud.is_running:
            self.cloud.stop()
        for program in self.programs.values():
            program.kill()

    def verdict(self, *, is_over: bool = True) -> Report:
        """Let the checker compare what was produced with what is stored."""
        return check([self.log], self.database, config=self.config, is_over=is_over)

    def judge(self) -> tuple[Report, list[str]]:
        """Return the checker's report, and everything that is not as it must be, in words.

        A gap is a finding too: nothing was ever full here, so that nothing had to be given up.
        """
        report = self.verdict()
        gaps = [f"{report.gaps} readings were given up"] if report.gaps else []
        return report, [*self.faults(), *gaps, *report.findings]

    def faults(self) -> list[str]:
        """What the programs themselves gave away, beside what the checker finds."""
        told = [
            f"{name}: a traceback in its log"
            for name, program in self.programs.items()
            if "Traceback" in program.log
        ]
        told += [
            f"{name}: left by itself with {sorted(set(left))}"
            for name, program in self.programs.items()
            if (left := [code for code in program.exits if code not in EXPECTED.get(name, ())])
        ]
        taken, wanted = self.taken(), self.plan.readings
        if taken < wanted and not (self.folder / ENOUGH).exists():
            told.append(f"the producer took {taken} of {wanted} readings")
        return [*self.findings, *told]

    def taken(self) -> int:
        """How many readings the producer has logged."""
        if not self.log.exists():
            return 0
        with self.log.open("rb") as file:
            return sum(1 for _ in file) * self.plan.channels

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the cloud's database; nothing while it is not there."""
        return query(self.database, statement)

    def stored(self) -> int:
        """How many readings the cloud holds."""
        rows = self.query("SELECT COALESCE(SUM(count), 0) FROM summaries")
        return int(rows[0][0]) if rows else 0

    def unconfirmed(self) -> dict[str, int]:
        """Newest number, by epoch, of what a gateway that has left still holds for the cloud."""
        rows = query(
            self.folder / "data" / "gateway.sqlite",
            "SELECT epoch, MAX(seq) FROM outbox GROUP BY epoch",
        )
        return dict(rows)

    def _drain_producer(self, timeout_s: float) -> None:
        """Run the producer until it has taken everything and all of that is confirmed."""
        if self.producer.process is None:
            self.producer.start("--rate", "0")

        def is_done() -> bool:
            return not self.producer.is_running

        self.until(is_done, "the producer was never told that all is stored", timeout_s=timeout_s,
                   tended=("broker", "gateway", "cloud"))  # fmt: skip
        code = self.producer.wait(1.0)
        if code:
            raise StuckError(f"the producer left with {code} ({self.folder})")

    def _drain_broker(self, timeout_s: float) -> None:
        """Wait until the gateway has taken in what a device gave the broker, if it ever has."""
        wanted = self.plan.readings
        with contextlib.suppress(AssertionError), listening(self.port) as ear:
            ear.until(
                "status",
                lambda said: said["readings"].get("received", 0) >= wanted,
                timeout_s=timeout_s,
            )

    def _drain_gateway(self, timeout_s: float) -> None:
        """Stop the gateway in order, as often as it takes until the cloud has confirmed all."""
        end_s = time.monotonic() + timeout_s
        while True:
            self.tend("broker", "cloud")
            if not self.gateway.is_running:
                self._upload(timeout_s)
            self.gateway.stop()
            left = self.unconfirmed()
            if not left:
                return
            if time.monotonic() > end_s:
                raise StuckError(f"up to {left} never confirmed ({self.folder})")

    def _upload(self, timeout_s: float) -> None:
        """Run the gateway until the cloud has confirmed what waited when it was started."""
        left = self.unconfirmed()
        with listening(self.port) as ear:
            self.gateway.start()
            ear.until("status", lambda said: said["presence"] == "online", timeout_s=timeout_s)
            for epoch, seq in left.items():
                with contextlib.suppress(AssertionError):  # it may have been told before
                    ear.until(
                        "cmd/stored",
                        lambda said, epoch=epoch, seq=seq: (
                            said["epoch"] == epoch and said["seq"] >= seq
                        ),
                        timeout_s=ANSWER_S,
                    )

    def _is_listening(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False


def query(database: Path, statement: str) -> list[tuple[Any, ...]]:
    """Read from a database that a program writes; nothing while it or its table is not there."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
            return reader.execute(statement).fetchall()
    except sqlite3.OperationalError:
        return []


@contextlib.contextmanager
def open_stage(
    folder: Path, plan: Plan, *, port: int | None = None, url: str = "", more: str = ""
) -> Iterator[Stage]:
    """Set the stage in a folder; nothing is started yet, and nothing is left running.

    `url` is where gateway, cloud and producer find the broker when something lies between.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    stage = _stage(folder, plan, port, url or f"mqtt://127.0.0.1:{port}")
    conf = folder / "mosquitto.conf"
    conf.write_text(MOSQUITTO.format(port=port, folder=folder.resolve()), "utf-8")
    settings = GATEWAY.format(url=url or f"mqtt://127.0.0.1:{port}", more=more)
    stage.config.write_text(settings, "utf-8")
    (folder / "plan.json").write_text(json.dumps({"port": port} | _facts(plan)), "utf-8")
    try:
        yield stage
    finally:
        for program in stage.programs.values():
            program.kill()


def _stage(folder: Path, plan: Plan, port: int, url: str) -> Stage:
    config, database = str(folder / "gateway.toml"), str(folder / "cloud.sqlite")
    python = [sys.executable, "-m"]
    cloud = ["cloud", "run", "--json", "--broker", url, "--database", database]
    programs = [
        Program("broker", [str(find_mosquitto())], ["-c", f"{folder}/mosquitto.conf"], folder),
        Program("gateway", [*python, "gateway"], ["--config", config], folder),
        Program("cloud", [*python, "vedette"], [*cloud, "--min-rows", "1000000000"], folder),
        Program("producer", [*python, "tests.chaos.producer"], _options(plan, folder, url), folder),
    ]
    for program in programs:
        program.environment["CHAOS_FOLDER"] = str(folder)
    return Stage(folder, plan, port, **{program.name: program for program in programs})


def _options(plan: Plan, folder: Path, url: str) -> list[str]:
    given = {"broker": url, "folder": folder} | _facts(plan)
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


def _facts(plan: Plan) -> dict[str, Any]:
    return {
        "sources": plan.sources,
        "channels": plan.channels,
        "rows": plan.rows,
        "rate": plan.rate,
        "rows-per-message": plan.rows_per_message,
        "foreign": int(plan.is_foreign),
    }
