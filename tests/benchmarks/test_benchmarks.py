"""The benchmarks run and report what they promise. How fast they are is never asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.blaster import answers
from benchmarks.client import Client
from benchmarks.load import Load
from vedette.broker import Broker
from wire.codec import decode_readings

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "skab"


def run(name: str, *arguments: str, results: Path) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", f"benchmarks.{name}"),
            *("--quick", "--json", "--results", str(results), *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert json.loads((results / f"{name}.quick.json").read_text("utf-8")) == result
    assert result["machine"].keys() >= {"cpu", "cores", "load_average", "python", "broker"}
    return result


def test_gateway_reports_costs_latency_and_memory(needs_mosquitto: None, tmp_path: Path) -> None:
    result = run("gateway", "--readings", "400", results=tmp_path)
    costs = ("cpu_us_per_reading", "floor_us", "paho_us", "aiomqtt_us")
    more = (
        "fleet_us_per_reading",
        "eight_channels_us_per_reading",
        "streams_100000_us_per_reading",
    )
    for name in (*costs, *more, "p50_ms", "p99_ms", "echo_p50_ms", "echo_p99_ms", "rss_mb"):
        assert result[name] > 0, name
    assert [len(result["runs"][name]["us"]) for name in costs] == [1, 1, 1, 1]
    assert result["readings_scored"] == result["readings_published"] == 2 * 400


def test_backtest_reports_the_rate_of_both_fleets(tmp_path: Path) -> None:
    result = run("backtest", "--readings", "40000", results=tmp_path)
    rates = [result[f"{name}_readings_per_s"] for name in result["runs"]]
    assert result["readings_per_s"] == min(rates) > 0
    assert all("fleet 1" in result[f"{name}_models"] for name in result["runs"])


@pytest.mark.skipif(not DATA.is_dir(), reason="the SKAB recordings are not beside the project")
def test_uplink_stays_below_a_fortieth_and_within_its_bounds(tmp_path: Path) -> None:
    result = run("uplink", results=tmp_path)
    assert result["bytes_up"] <= result["bytes_raw"] / 40
    assert result["readings_checked"] == result["readings"] > 100_000
    assert result["readings_outside_bound"] == 0


def test_the_load_is_the_same_each_time_and_numbers_its_messages() -> None:
    load = Load(3, channels=2)
    (message,) = decode_readings(load.payload(1, 7))
    assert message.id == ("bench", 8)
    assert list(message.values) == ["ch0", "ch1"]
    assert load.packet(5) == Load(3, channels=2).packet(5) != load.packet(6)


def test_the_client_keeps_what_comes_with_an_answer(mosquitto: Broker) -> None:
    with Client(mosquitto.port, name="keeper") as client:
        client.publish("a", b"1")
        client.subscribe("b")
        assert answers(client, 5.0) == 1
