"""What a reading costs the gateway, beside subscribers that only count; latency; memory.

The load goes through a broker on loopback as fast as the broker takes it: JSON, QoS 1, every
reading scored by ONNX. The measured process has one core, broker and load the other.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks import fleet, latency
from benchmarks.counting import COUNTERS
from benchmarks.disk import disk_folder
from benchmarks.load import Load
from benchmarks.process import OTHER_CORE, on_core, subject
from benchmarks.report import Report, median
from benchmarks.stand import Cost, Setting, Stand, blast, open_broker, open_stand
from benchmarks.stored import read_stored

STREAMS = 1000
CHANNELS = 8
WIDE = (10_000, 100_000)


def main() -> None:
    """Run everything and report."""
    report = Report.from_command_line("gateway", about=__doc__)
    report.add(load="saturating: as fast as the broker and the load share one core", runs={})
    with disk_folder() as folder, on_core(OTHER_CORE):
        measure_costs(report, folder)
        measure_latency(report, folder)
        measure_eight(report, folder)
        measure_fleets(report, folder)
        measure_wide(report, folder)
    report.finish()


def measure_costs(report: Report, folder: Path) -> None:
    """1,000 streams with the bundled model, all that it is compared with, and its memory."""
    messages, load = report.size(quick=40_000, full=200_000), Load(STREAMS)
    costs: dict[str, list[Cost]] = {name: [] for name in ("gateway", *COUNTERS)}
    with open_stand(folder / "narrow", load) as stand:
        stand.run(report.size(quick=100_000, full=100_000))
        first = (stand.published, stand.gateway.rss_mb)
        for number in range(report.runs):
            costs["gateway"].append(stand.run(messages))
            for counter in COUNTERS:
                at = folder / f"{counter}-{number}"
                costs[counter].append(count(counter, stand, messages, at))
        tell_costs(report, costs)
        measure_memory(report, stand, first)
        scored = stand.check()
        report.add(readings_published=stand.published, readings_scored=scored)
        tell_disk(report, costs["gateway"], stand)


def count(counter: str, stand: Stand, messages: int, folder: Path) -> Cost:
    """Let a counter take the messages that the gateway has just had."""
    given = ["--count", str(messages)]
    with open_broker(folder) as broker:
        arguments = ["-m", "benchmarks.counting", counter, "--port", str(broker.port), *given]
        with subject(*arguments, log=folder / "counter.log") as running:
            running.await_line("ready")
            before = running.cpu_s
            first = stand.published - messages
            seconds = blast(broker, stand.load, first=first, count=messages)
            busy = (running.cpu_s - before) / seconds
            running.await_line("done")
            return Cost(running.cpu_s - before, messages, messages / seconds, busy)


def tell_costs(report: Report, costs: dict[str, list[Cost]]) -> None:
    """Report medians and the ratios between them."""
    names = {
        "gateway": "cpu_us_per_reading",
        "session": "floor_us",
        "paho": "paho_us",
        "aiomqtt": "aiomqtt_us",
    }
    for subject_name, key in names.items():
        tell(report, key, costs[subject_name])
    own = report.result["cpu_us_per_reading"]
    for other in ("floor", "paho", "aiomqtt"):
        report.add(**{f"ratio_to_{other}": round(own / report.result[f"{other}_us"], 2)})


def tell_disk(report: Report, costs: list[Cost], stand: Stand) -> None:
    """Report what a reading takes of the disk; nobody confirms, so that all of it is kept."""
    stored = read_stored(stand.storage)
    journal, outbox = stored.journal_bytes, stored.outbox_bytes
    report.add(
        kept_bytes_per_reading=round(stored.kept_bytes / stand.published, 2),
        kept_journal_bytes_per_reading=round(journal / stand.published, 2),
        kept_outbox_bytes_per_reading=round(outbox / stand.published, 2),
        checkpoint_bytes=stored.snapshot_bytes,
        written_bytes_per_reading=median([cost.written_bytes / cost.messages for cost in costs]),
        commits_per_s=median([cost.commits_per_s for cost in costs]),
        readings_per_commit=median([cost.messages / max(cost.commits, 1) for cost in costs]),
    )


def tell(report: Report, key: str, costs: list[Cost], *, channels: int = 1) -> None:
    """Report the median cost of a reading under `key`, and every run."""
    runs = [cost.us_per_message / channels for cost in costs]
    report.result["runs"][key] = {
        "us": [round(us, 3) for us in runs],
        "messages_per_s": [round(cost.rate) for cost in costs],
        "core_share": [round(cost.busy, 2) for cost in costs],
    }
    report.add(**{key: median(runs)})
    report.say(f"    {report.result['runs'][key]}")


def measure_memory(report: Report, stand: Stand, first: tuple[int, float]) -> None:
    """Go on until the memory of a long run shows.

    The first checkpoint costs once, so that the growth after it is reported too.
    """
    last = report.size(quick=400_000, full=2_000_000)
    later = (stand.published, stand.gateway.rss_mb)
    if stand.published < last:
        cost = stand.run(last - stand.published)
        report.add(long_run_us_per_reading=round(cost.us_per_message, 3))
    report.add(
        rss_mb=round(stand.gateway.rss_mb, 1),
        rss_growth_mb=round(stand.gateway.rss_mb - first[1], 2),
        rss_growth_from_to_readings=[first[0], stand.published],
        rss_growth_later_mb=round(stand.gateway.rss_mb - later[1], 2),
        rss_growth_later_from_to_readings=[later[0], stand.published],
    )


def measure_latency(report: Report, folder: Path) -> None:
    """Publish to alert at 5,000 messages a second, beside an echo."""
    probes = report.readings // 100 or (100 if report.quick else 500)
    with open_stand(folder / "latency", Load(STREAMS)) as stand:
        stand.run(STREAMS)
        found = latency.measure(stand, probes=probes)
        stand.check()
    report.add(latency_messages_per_s=latency.RATE, latency_probes=len(found.alerts_ms))
    report.add(latency_core_share=round(found.core_share, 3))
    for name, times_ms in (("", found.alerts_ms), ("echo_", found.echoes_ms)):
        cuts = statistics.quantiles(times_ms, n=100, method="inclusive")
        report.result["runs"][f"{name}latency_ms"] = [round(ms, 2) for ms in times_ms]
        report.add(**{f"{name}p50_ms": round(cuts[49], 2), f"{name}p99_ms": round(cuts[98], 2)})


def measure_eight(report: Report, folder: Path) -> None:
    """Messages of eight values."""
    costs = runs_of(report, folder / "eight", Load(STREAMS // CHANNELS, CHANNELS), divisor=4)
    tell(report, "eight_channels_us_per_reading", costs, channels=CHANNELS)
    report.add(eight_channels_us_per_message=median([cost.us_per_message for cost in costs]))


def measure_fleets(report: Report, folder: Path) -> None:
    """The same streams scored by a Sub-PCA fleet: of one channel, and of eight."""
    for channels, key in ((1, "fleet_us_per_reading"), (CHANNELS, "fleet_eight_us_per_reading")):
        load, at = Load(STREAMS // channels, channels), folder / key
        models = fleet.train(load, at / "models")
        tell(
            report,
            key,
            runs_of(report, at, load, divisor=channels, models=models),
            channels=channels,
        )


def measure_wide(report: Report, folder: Path) -> None:
    """Many streams: what does a reading cost once all are known, and while they appear?"""
    for streams in WIDE:
        known = min(streams, report.readings or streams)
        key = f"streams_{streams}"
        with open_stand(folder / key, Load(known)) as stand:
            tell(report, f"{key}_first_us_per_reading", [stand.run(known)])
            messages = max(report.size(quick=40_000, full=200_000), known)
            tell(report, f"{key}_us_per_reading", [stand.run(messages) for _ in range(report.runs)])
            report.add(**{f"{key}_rss_mb": round(stand.gateway.rss_mb, 1)})
            stand.check()
        ratio = report.result[f"{key}_us_per_reading"] / report.result["cpu_us_per_reading"]
        report.add(**{f"{key}_ratio": round(ratio, 2)})


def runs_of(
    report: Report, folder: Path, load: Load, *, divisor: int, models: Path | None = None
) -> list[Cost]:
    """Run a gateway of its own on a load, every stream seen before, a window full."""
    messages = max(report.size(quick=40_000, full=200_000) // divisor, 1)
    with open_stand(folder, load, Setting(models=models)) as stand:
        stand.run(min(40 * load.assets, messages))
        costs = [stand.run(messages) for _ in range(report.runs)]
        stand.check()
    return costs


if __name__ == "__main__":
    main()
