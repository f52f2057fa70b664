"""The README's table, from the results kept beside it: `python -m benchmarks.figures`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS

__all__ = ["table"]


def table(folder: Path = RESULTS) -> str:
    """Return the table in Markdown; raises OSError when a result is missing."""
    gateway, backtest, uplink = (_read(folder, name) for name in ("gateway", "backtest", "uplink"))
    rows = [*_cost(gateway), *_latency(gateway), *_memory(gateway), *_others(backtest, uplink)]
    head = ["| what | measured | wanted |", "|---|---|---|"]
    return "\n".join([*head, *(f"| {what} | {got} | {bar} |" for what, got, bar in rows)])


def _read(folder: Path, name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return result


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
            "≤ 15 µs",
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
