"""A long run: does the gateway stay as it is while brokers restart and the cloud is killed?

About 1,000 messages a second over 1,000 streams, an alert now and then; a fault about ten times a
run. Exit code 1 when memory, threads or files grow by more than 5 % after the first fifth, or the
write-ahead log gets beyond 64 MB.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.disk import disk_folder
from benchmarks.load import Load
from benchmarks.process import OTHER_CORE, Subject, on_core, subject
from benchmarks.report import Report
from benchmarks.samples import Samples
from benchmarks.stand import GATEWAY, Setting, open_broker, open_gateway, read_status
from benchmarks.steady import Steady
from vedette.broker import Broker, free_port

STREAMS = 1000
RATE = 1000.0
SAMPLES = 180
LONGEST_SAMPLE_S = 10.0
FAULTS = 10
LEAST_FAULT_S = 3.0
AWAY_S = 1.0
TICK_S = 0.05
MINUTES = 30.0
LARGEST_WAL_MB = 64.0
HELD_FLAT = ("rss_mb", "threads", "fds")
SEED = 11


@dataclass(slots=True)
class Scene:
    """Everything that runs, and what is done to it."""

    folder: Path
    port: int
    gateway: Subject
    cloud: Subject
    brokers: contextlib.ExitStack
    broker: Broker
    faults: Counter[str] = field(default_factory=Counter)

    def fail(self, source: random.Random) -> None:
        """Restart the broker, or kill the cloud and start it again."""
        if source.random() < 0.5:
            self.faults["broker restarts"] += 1
            self.brokers.close()
            time.sleep(AWAY_S)
            self.broker = self.brokers.enter_context(
                open_broker(self.folder / "broker", port=self.port)
            )
        else:
            self.faults["cloud kills"] += 1
            self.cloud.kill()
            time.sleep(AWAY_S)
            self.cloud.start()


def main() -> None:
    """Run, sample and report."""
    report = Report.from_command_line("soak", about=__doc__, minutes=MINUTES)
    with disk_folder() as folder, on_core(OTHER_CORE), open_scene(folder) as scene:
        steady = Steady(scene.port, Load(STREAMS), rate=RATE)
        samples = play(report, scene, steady)
        steady.close()
        status = read_status(scene.broker, presence="online")
        report.add(
            minutes=report.minutes,
            seed=SEED,
            messages_published=steady.published,
            alerts_raised=steady.alerts,
            faults=dict(scene.faults),
            readings=status.readings,
            outbox=status.outbox,
            gateway_faults=list(status.faults),
        )
    is_flat = judge(report, samples)
    report.finish()
    sys.exit(not is_flat)


def play(report: Report, scene: Scene, steady: Steady) -> Samples:
    """Publish, break things and look, each when it is due."""
    source, samples = random.Random(SEED), Samples()
    length_s = report.minutes * 60
    fault_s = max(length_s / FAULTS, LEAST_FAULT_S)
    sample_s = min(length_s / SAMPLES, LONGEST_SAMPLE_S)
    began_s = time.monotonic()
    next_fault_s, next_sample_s = fault_s, 0.0
    while (at_s := time.monotonic() - began_s) < length_s:
        steady.go_on()
        if at_s >= next_sample_s:
            next_sample_s += sample_s
            samples.take(scene.gateway.process.pid, scene.folder / "data", minute=at_s / 60)
        if at_s >= next_fault_s:
            next_fault_s += source.uniform(0.5, 1.5) * fault_s
            scene.fail(source)
            report.say(f"  minute {at_s / 60:.1f}: {dict(scene.faults)}")
        time.sleep(TICK_S)
    return samples


def judge(report: Report, samples: Samples) -> bool:
    """Report how everything moved; return whether the gateway stays as it is."""
    trends = samples.trends()
    for kind, trend in trends.items():
        report.add(**{kind: {name: round(value, 4) for name, value in asdict(trend).items()}})
    report.result["samples"] = samples.rows()
    is_flat = all(trends[kind].is_flat for kind in HELD_FLAT)
    is_bounded = trends["wal_mb"].largest < LARGEST_WAL_MB
    report.add(flat=is_flat, wal_bounded=is_bounded)
    return is_flat and is_bounded


@contextlib.contextmanager
def open_scene(folder: Path) -> Iterator[Scene]:
    """Run broker, gateway and cloud in `folder`."""
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    Setting().write(folder, url)
    with contextlib.ExitStack() as brokers:
        broker = brokers.enter_context(open_broker(folder / "broker", port=port))
        with (
            open_gateway(folder) as gateway,
            subject(*cloud(folder, url), log=folder / "cloud.log", core=OTHER_CORE) as running,
        ):
            read_status(broker, presence="online")
            yield Scene(folder, port, gateway, running, brokers, broker)


def cloud(folder: Path, url: str) -> tuple[str, ...]:
    """Arguments of a cloud that stores and confirms, and never trains."""
    database = str(folder / "cloud.sqlite")
    options = ("--database", database, "--client-id", f"{GATEWAY}-cloud")
    return ("-m", "vedette", "cloud", "run", "--broker", url, *options, "--min-rows", "1000000000")


if __name__ == "__main__":
    main()
