"""The README's table, from the results kept beside it: `python -m benchmarks.figures`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS

__all__ = ["table"]


def table(folder: Path = RESULTS) -> str:
    """Return the table in Markdown; raises OSError when a result is missing.

    Rows on durability and on a long run are there where their results are.
    """
    gateway, backtest, uplink = (_read(folder, name) for name in ("gateway", "backtest", "uplink"))
    rows = [*_cost(gateway), *_latency(gateway), *_memory(gateway)]
    if "kept_bytes_per_reading" in gateway:
        rows += _disk(gateway)
    for name, more in (("durability", _durability), ("soak", _soak)):
        if (folder / f"{name}.json").exists():
            rows += more(_read(folder, name))
    if (folder / "chaos.json").exists():
        rows = _chaos(_read(folder, "chaos")["parts"]) + rows
    rows += _others(backtest, uplink)
    head = ["| what | measured | wanted |", "|---|---|---|"]
    return "\n".join([*head, *(f"| {what} | {got} | {bar} |" for what, got, bar in rows)])


def _read(folder: Path, name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return result


def _chaos(parts: dict[str, Any]) -> list[tuple[str, str, str]]:
    kills, sweep, proxy, cuts = (
        parts[name] for name in ("kills", "crash points", "network", "power cuts")
    )
    counted = (kills["published"], kills["lost"], kills["duplicated"])
    lost = "**{:,} readings: {} lost, {} counted twice**".format(*counted)
    rest = (
        f"{cuts['count']:,} power cuts, {sweep['crashes']:,} crashes at every durable step, "
        f"{sum(proxy['faults'].values()):,} network faults"
    )
    return [
        (f"`kill -9` of gateway, cloud, broker or sensor, {kills['kills']:,} times", lost, "0, 0"),
        (rest, "nothing acknowledged and lost, nothing twice", "0, 0"),
    ]


def _cost(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    beside = (
        f"{result['floor_us']:.1f} a bare session that only counts, "
        f"{result['paho_us']:.0f} paho, {result['aiomqtt_us']:.0f} aiomqtt"
    )
    ratios = [result[f"streams_{streams}_ratio"] for streams in (10_000, 100_000)]
    wider = " and ".join(f"{ratio:.2f}" for ratio in ratios)
    return [
        (
            "CPU a reading, received to scored; 1,000 streams, one JSON reading a message, QoS 1",
            f"**{result['cpu_us_per_reading']:.1f} µs** ({beside})",
            "≤ 20 µs" if "kept_bytes_per_reading" in result else "≤ 15 µs",
        ),
        (
            "the same with 8 channels a message",
            f"{result['eight_channels_us_per_reading']:.1f} µs",
            "",
        ),
        (
            "the same with 10,000 and 100,000 streams",
            f"{wider} times that",
            "≤ 1.5",
        ),
    ]


def _latency(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    echo = f"bare echo: {result['echo_p50_ms']:.1f} and {result['echo_p99_ms']:.1f}"
    return [
        (
            "publish to alert at 5,000 messages a second, p50 and p99",
            f"{result['p50_ms']:.1f} and {result['p99_ms']:.1f} ms ({echo})",
            "< 5 and < 25 ms",
        )
    ]


def _memory(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    first, last = result["rss_growth_from_to_readings"]
    growth = f"+{result['rss_growth_mb']:.1f} MB from {first:,} to {last:,} readings"
    return [
        (
            "gateway memory with 1,000 streams",
            f"{result['rss_mb']:.0f} MB; {growth}",
            "≤ 90 MB, < 2 MB",
        )
    ]


def _disk(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    kept, written = (result[f"{what}_bytes_per_reading"] for what in ("kept", "written"))
    commits = result["commits_per_s"]
    return [
        (
            "bytes a reading on the disk: kept until confirmed or pruned, and written",
            f"{kept:.1f} and {written:.0f}; {commits:.0f} commits a second at full load",
            "≤ 12 kept",
        )
    ]


def _durability(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    low, high = result["recovery_replayed_readings"]
    given, strict = (result[f"{kind}window_20_messages_per_s"] for kind in ("", "strict_"))
    rate, ratio = result["drain_readings_per_s"], result["drain_ratio"]
    alerts = (
        f"slowest of {result['drain_alerts']} live alerts meanwhile "
        f"{result['drain_alert_slowest_ms']:.0f} ms"
    )
    after = f"{result['outage_reconnected_s']:.0f} s to connect again, then"
    return [
        (
            "messages a second, mosquitto's default window of 20 (and a broker that holds to it)",
            f"{given:,} ({strict:,})",
            "≥ 10,000",
        ),
        (
            "commits a second at 100 messages a second",
            f"{result['slow_commits_per_s']:.0f}",
            "≤ 20",
        ),
        (
            f"after an outage: {result['outage_pending_readings']:,} readings confirmed at",
            f"{after} {rate:,} readings/s, {ratio:,.0f} times what comes in; {alerts}",
            "≥ 50,000, ≥ 10 times, < 1 s",
        ),
        (
            "`kill -9` to the first answer, as many readings waiting",
            f"{result['recovery_s']:.1f} s ({low:,} to {high:,} readings run again)",
            "< 3 s",
        ),
        (
            "CPU on a disk, to that with the storage in memory",
            f"{result['disk_to_memory_us']:.2f} times",
            "",
        ),
    ]


def _soak(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    drifts = ", ".join(f"{result[kind]['drift']:+.1%}" for kind in ("rss_mb", "threads", "fds"))
    faults = " and ".join(f"{count} {fault}" for fault, count in sorted(result["faults"].items()))
    return [
        (
            f"{result['minutes']:.0f} minutes with {faults}: memory, threads and files",
            f"{drifts}; write-ahead log at most {result['wal_mb']['largest']:.0f} MB",
            "within 5 %, < 64 MB",
        )
    ]


def _others(backtest: dict[str, Any], uplink: dict[str, Any]) -> list[tuple[str, str, str]]:
    bound = f"median error bound {uplink['median_bound_share_of_span']:.0%} of a channel's span"
    return [
        (
            "backtest with a trained fleet, one core",
            f"{backtest['readings_per_s']:,.0f} readings/s",
            "≥ 300,000",
        ),
        (
            "bytes sent up, SKAB recordings: alerts and summaries to payloads as published",
            f"1/{uplink['raw_bytes_per_byte_up']:.0f} ({bound}, which is mostly noise there)",
            "≤ 1/40",
        ),
    ]


if __name__ == "__main__":
    print(table())
