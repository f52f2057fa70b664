from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sensors.publisher import Publisher
from sensors.recorded import read_messages
from vedette.broker import Broker, free_port
from vedette.commands.sensors import app, default_keep

ROOT = Path(__file__).parents[2]
RUN = ["-c", "from vedette.commands.sensors import app; app()"]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def result_of(*arguments: object) -> dict[str, Any]:
    outcome = invoke(*arguments, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    [line] = outcome.stdout.splitlines()
    decoded: dict[str, Any] = json.loads(line)
    return decoded


def test_simulate_writes_a_file_that_replay_publishes(broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "rig.csv"
    written = result_of(
        "simulate", "--rig", "pump", "--hours", 0.1, "--fault", "leak@3m", "--out", path
    )  # fmt: skip
    assert written["rows"] == 360
    assert [label["kind"] for label in written["labels"]] == ["leak"]
    replayed = result_of("replay", path, "--speed", "max", "--broker", broker.url)
    assert replayed["assets"] == ["rig"]
    assert (replayed["messages"], replayed["rows"], replayed["readings"]) == (360, 360, 2880)


def test_simulate_publishes_with_its_labels(broker: Broker) -> None:
    told = result_of(
        "simulate", "--rig", "compressor", "--hours", 0.05, "--fault", "gap@1m+30s",
        "--speed", "max", "--rows-per-message", 50, "--broker", broker.url,
    )  # fmt: skip
    assert (told["rows"], told["messages"], told["readings"]) == (180, 4, 180 * 7 - 30 * 2)
    assert [label["kind"] for label in told["labels"]] == ["gap"]


def test_several_recordings_replay_side_by_side(broker: Broker, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.jsonl" for name in "ab"]
    for seed, path in enumerate(paths):
        result_of("simulate", "--hours", 0.01, "--seed", seed, "--out", path)
    told = result_of("replay", *paths, "--speed", "max", "--broker", broker.url)
    assert told["assets"] == ["a", "b"]
    assert told["rows"] == 72


def test_host_publishes_a_count_of_rows(broker: Broker) -> None:
    told = result_of(
        "host", "--period", "0.02s", "--count", 3, "--no-durable", "--broker", broker.url
    )
    assert told["messages"] == 3
    assert told["payload_bytes"] > 100


def test_ctrl_c_ends_a_recording_that_replay_reads(mosquitto: Broker, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    recording = subprocess.Popen(
        [sys.executable, *RUN, "record", str(path), "--broker", mosquitto.url, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with recording:
        assert recording.stderr is not None
        assert "recording vedette/v1/readings/+" in recording.stderr.readline()
        result_of("simulate", "--hours", 0.01, "--speed", "max", "--broker", mosquitto.url)
        while path.read_bytes().count(b"\n") < 36:
            assert recording.poll() is None
        recording.send_signal(signal.SIGINT)
        out, _ = recording.communicate(timeout=20)
    assert recording.returncode == 0
    assert json.loads(out) == {"file": str(path), "messages": 36}
    assert result_of("replay", path, "--speed", "max", "--broker", mosquitto.url)["rows"] == 36
    again = result_of("replay", path, "--verbatim", "--speed", "max", "--broker", mosquitto.url)
    assert again["messages"] == 36


def test_a_killed_recorder_goes_on_where_it_stopped(mosquitto: Broker, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for number in range(3):
        with recording(path, mosquitto) as recorder:
            assert recorder.stderr is not None
            assert "recording x to" in recorder.stderr.readline()
            publish(mosquitto, range(number * 200, number * 200 + 100))
            while path.read_bytes().count(b"\n") < number * 200 + 50:
                assert recorder.poll() is None
            recorder.kill()
        publish(mosquitto, range(number * 200 + 100, number * 200 + 200))
    with recording(path, mosquitto, "--count", 100) as recorder:
        recorder.communicate(timeout=30)
    recorded = {message.payload_bytes() for message in read_messages(path)}
    assert recorded == {b"%d" % number for number in range(600)}


def publish(broker: Broker, numbers: range) -> None:
    with Publisher(broker.url) as publisher:
        for number in numbers:
            publisher.publish("x", b"%d" % number)


def recording(path: Path, broker: Broker, *arguments: object) -> subprocess.Popen[str]:
    given = ["record", path, "--topic", "x", "--broker", broker.url, *arguments]
    return subprocess.Popen(
        [sys.executable, *RUN, *map(str, given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    ("given", "expected"), [("/state", "/state/vedette"), ("", "/me/.local/state/vedette")]
)
def test_rows_are_kept_in_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", given)
    monkeypatch.setenv("HOME", "/me")
    assert default_keep("host-a") == Path(expected) / "host-a.sqlite"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["replay"], 2, "Missing argument"),
        (["replay", "absent.csv"], 3, "absent.csv: expected a file"),
        (["replay", "absent.csv", "--preset", "nope"], 3, "expected a preset of nab"),
        (["replay", "absent.csv", "--speed", "fast"], 2, "expected max or a factor"),
        (["simulate", "--rig", "boiler"], 2, "expected one of pump, compressor"),
        (["simulate", "--fault", "rust@1h"], 2, "expected KIND"),
        (["simulate", "--period", "often", "--out", "x.csv"], 2, "expected such as 1h30m"),
        (["simulate", "--out", "x.xlsx"], 3, "expected a file named"),
        (["simulate", "--broker", "http://x"], 2, "expected mqtt://"),
        (["host", "--source", "a/b"], 2, "expected 1 to 64 of"),
        (["record", "x.jsonl", "--broker", "mqtt://127.0.0.1:{port}"], 4, "expected an MQTT"),
        (
            ["host", "--no-durable", "--count", "1", "--broker", "mqtt://127.0.0.1:{port}"],
            4,
            "expected an MQTT",
        ),
        (["host", "--keep", "."], 3, "give --keep FILE"),
        (["replay", "a.jsonl", "--verbatim", "--durable"], 2, "leave one out"),
    ],
)
def test_exit_codes(
    arguments: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = invoke(*(text.format(port=free_port()) for text in arguments))
    assert outcome.exit_code == code
    assert said in outcome.stderr
    assert outcome.stdout == ""
