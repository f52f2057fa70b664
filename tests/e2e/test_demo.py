"""The demo as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from vedette.broker import find_mosquitto

PROMISED = {
    "readings_published",
    "readings_scored",
    "alerts",
    "model_before",
    "model_after",
    "bytes_raw",
    "bytes_up",
    "latency_ms",
    "rss_mb",
}


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_demo_runs_the_whole_loop(broker: str) -> None:
    if broker == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    command = [sys.executable, "-m", "vedette", "demo", "--once", "--json", "--broker", broker]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])

    assert set(result) >= PROMISED
    assert result["readings_published"] == result["readings_scored"] > 100_000
    assert result["model_before"]["id"] == "robust"
    assert result["model_after"]["id"].startswith("subpca-")
    scored = result["model_before"]["scored"] + result["model_after"]["scored"]
    assert scored == result["readings_scored"]
    assert result["model_before"]["scored"] > 0 < result["model_after"]["scored"]
    assert result["bytes_up"] * 20 < result["bytes_raw"]
    hits = [alert for alert in result["alerts"] if alert["label"] == "hit"]
    assert {alert["asset"] for alert in hits} >= {"pump-1", "pump-2"}
    assert all(alert["version"] == 1 for alert in hits)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_demo_told_to_stop_ends_at_once_with_all_that_it_started(name: str) -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    demo = subprocess.Popen(
        [sys.executable, "-m", "vedette", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert demo.stdout is not None
    assert demo.stderr is not None
    try:
        assert b"opened" in demo.stdout.readline()
        started = psutil.Process(demo.pid).children(recursive=True)
        assert len(started) == 3
        os.killpg(demo.pid, signal.Signals[name])  # as a terminal does
        assert demo.wait(20) == 0
        assert b"Traceback" not in demo.stderr.read()
        assert psutil.wait_procs(started, timeout=1)[1] == []
    finally:
        if demo.poll() is None:
            demo.kill()
        demo.stdout.close()
        demo.stderr.close()


def test_a_preset_without_data_is_refused() -> None:
    command = [sys.executable, "-m", "vedette", "demo", "--preset", "nab"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--data" in done.stderr


def without_p(line: str) -> str:
    """Processors round differently, and a tiny p-value shows it."""
    return re.sub(r"\(p [^,]+, ", "(", line)


def test_demo_prints_what_the_readme_shows() -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    shown = re.findall(r"^2026-\S+ .*$", readme, re.MULTILINE)
    labels = re.findall(r"^([a-z]+) {3,}(?=\S)", readme.split("```")[1], re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "vedette", "demo", "--once"],
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    lines = [without_p(line) for line in done.stdout.splitlines()]
    assert len(shown) >= 5
    assert [line for line in map(without_p, shown) if line not in lines] == []
    assert [line.split()[0] for line in lines[-7:]] == labels


def test_demo_refuses_a_folder_in_use(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    command = [sys.executable, "-m", "vedette", "demo", "--once", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "expected an empty folder" in done.stderr


def test_demo_says_what_is_wrong_with_recordings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vedette", "demo", "--data", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "nowhere" in done.stderr
