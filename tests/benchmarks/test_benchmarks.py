"""The benchmarks run and report what they promise. How fast they are is never asserted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mqtt5
import pytest

from benchmarks.blaster import answers
from benchmarks.client import Client
from benchmarks.figures import table
from benchmarks.load import Load
from benchmarks.narrow import frames_of, narrowed
from benchmarks.report import RESULTS
from benchmarks.samples import Samples, trend_of
from vedette.broker import Broker
from wire.codec import decode_readings

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "skab"


SOAKED = {
    "minutes": 30.0,
    "faults": {"cloud kills": 5, "broker restarts": 4},
    "rss_mb": {"drift": 0.01},
    "threads": {"drift": 0.0},
    "fds": {"drift": -0.02},
    "wal_mb": {"largest": 8.2},
}
SHORT = ("--readings", "400")


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


def soak(*arguments: str, results: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.soak"),
            *("--quick", "--json", "--results", str(results), *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_gateway_reports_costs_latency_and_memory(needs_mosquitto: None, tmp_path: Path) -> None:
    result = run("gateway", *SHORT, results=tmp_path)
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
    assert result["kept_bytes_per_reading"] > result["kept_journal_bytes_per_reading"] > 0
    assert result["commits_per_s"] > 0


def test_durability_reports_windows_outage_recovery_and_cost(
    needs_mosquitto: None, tmp_path: Path
) -> None:
    result = run("durability", "--readings", "3000", results=tmp_path)
    for name in ("window_20_messages_per_s", "strict_window_20_messages_per_s", "disk_sync_ms"):
        assert result[name] > 0, name
    assert result["outage_pending_readings"] > 1500
    assert result["drain_readings_per_s"] > 0
    assert result["alerts_then_p99_ms"] > 0
    assert result["recovery_s"] > 0
    assert 0 < result["recovery_replayed_readings"][1] <= 3000
    assert result["disk_to_memory_us"] > 0


def test_soak_samples_and_judges(needs_mosquitto: None, tmp_path: Path) -> None:
    done = soak("--minutes", "0.12", results=tmp_path)
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == int(not (result["flat"] and result["wal_bounded"])), done.stderr
    assert result == json.loads((tmp_path / "soak.quick.json").read_text("utf-8"))
    assert sum(result["faults"].values()) >= 1
    assert result["messages_published"] > 0
    assert len(result["samples"]) > 10
    assert all(sample["rss_mb"] > 0 for sample in result["samples"])


def test_a_trend_is_flat_until_it_drifts_by_a_twentieth() -> None:
    minutes = [float(minute) for minute in range(30)]
    assert trend_of(minutes, [100.0] * 30).is_flat
    dip = [100.0] * 15 + [90.0] + [100.0] * 14
    assert trend_of(minutes, dip).is_flat
    assert trend_of(minutes, dip).deviation == pytest.approx(0.1)
    growing = trend_of(minutes, [100.0 + minute for minute in minutes])
    assert not growing.is_flat
    assert growing.slope_per_hour == pytest.approx(60.0)
    samples = Samples(minutes, {"rss_mb": [300.0] * 5 + [100.0] * 25})
    assert samples.trends()["rss_mb"].largest == 100.0


def test_the_table_grows_with_the_results(tmp_path: Path) -> None:
    for name in ("gateway", "backtest", "uplink"):
        shutil.copy(RESULTS / f"{name}.json", tmp_path)
    before = table(tmp_path)
    (tmp_path / "soak.json").write_text(json.dumps(SOAKED), "utf-8")
    after = table(tmp_path)
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    assert "+1.0%, +0.0%, -2.0%; write-ahead log at most 8 MB" in after


def test_a_narrow_broker_gives_no_more_than_its_window(mosquitto: Broker) -> None:
    with (
        narrowed(mosquitto.port, 3) as url,
        Client(int(url.rsplit(":", 1)[1]), name="narrow") as client,
        Client(mosquitto.port, name="publisher") as publisher,
    ):
        client.subscribe("a")
        for number in range(12):
            publisher.publish("a", b"%d" % number)
        payloads: list[bytes] = []
        while len(payloads) < 12:
            packets = client.packets(5.0)
            assert 1 <= len(packets) <= 3
            payloads += [bytes(p.payload) for p in packets if isinstance(p, mqtt5.PublishPacket)]
    assert payloads == [b"%d" % number for number in range(12)]


@pytest.mark.parametrize("cut", [1, 2, 130, 300])
def test_frames_are_whole_packets(cut: int) -> None:
    packets = [b"\x40\x02\x00\x01", b"\x32\xc8\x01" + b"x" * 200, b"\xd0\x00"]
    data = b"".join(packets)
    found = [data[begin:end] for _, begin, end in frames_of(data[:cut])]
    assert found == packets[: len(found)]
    assert len(b"".join(found)) <= min(cut, len(data))
    assert [header for header, _, _ in frames_of(data)] == [0x40, 0x32, 0xD0]


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
