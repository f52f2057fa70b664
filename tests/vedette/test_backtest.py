"""The backtest: the gateway's pipeline over recordings, and its command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cloud.train.history import AssetHistory
from cloud.train.subpca import FleetSettings, fit_fleet
from sensors.recording import Recording
from sensors.simulate.faults import parse_fault
from sensors.simulate.simulation import simulate
from sensors.writing import write_recording
from vedette.backtest import Backtest, backtest, batches_of, open_pipeline
from wire.blocks import ExcerptBlock, SummaryBlock, encode_excerpt, encode_summaries
from wire.codec import encode_json

HOUR_S = 3600.0
Block = TypeVar("Block", SummaryBlock, ExcerptBlock)


def pumps(count: int = 3) -> list[Recording]:
    return [
        simulate(
            "pump",
            duration_s=HOUR_S,
            seed=seed,
            faults=[parse_fault("cavitation@45m+5m")] if seed == 0 else [],
            asset=f"pump-{seed}",
        )
        for seed in range(count)
    ]


def fleet_file(recordings: list[Recording], folder: Path) -> Path:
    channels = tuple(channel.name for channel in recordings[0].channels)
    histories = [
        AssetHistory(r.asset, channels, (r.whole().values[:1800].astype("float32"),))
        for r in recordings
    ]
    model = fit_fleet(histories, model_id="pumps", version=3, settings=FleetSettings())
    folder.mkdir()
    (folder / "pumps.onnx").write_bytes(model.data)
    return folder


def sent(result: Backtest) -> list[bytes]:
    named = [_named(block) for block in result.effects.summaries]
    cut = [_named(block) for block in result.effects.excerpts]
    return [
        *map(encode_json, result.alerts),
        *map(encode_summaries, named),
        *map(encode_excerpt, cut),
    ]


def _named(block: Block) -> Block:
    return replace(block, epoch="test", seq=1)


def test_trained_fleet_takes_over_and_finds_the_fault(tmp_path: Path) -> None:
    recordings = pumps()
    folder = fleet_file(recordings, tmp_path / "models")
    result = backtest(recordings, open_pipeline("gw", folder))
    assert result.models == ["robust 1", "pumps 3"]
    assert result.readings == result.readings_scored == 3 * 3600 * 8
    found = [alert.data for alert in result.alerts if alert.data.asset == "pump-0"]
    (fault,) = recordings[0].labels
    assert any(fault.start_us / 1e3 <= alert.start_ms <= fault.end_us / 1e3 for alert in found)
    assert found[-1].model.id == "pumps"


def test_batch_size_changes_nothing() -> None:
    recordings = pumps(2)
    whole = backtest(recordings, open_pipeline("gw", None))
    pieces = backtest(recordings, open_pipeline("gw", None), batch_rows=61)
    assert sent(whole) == sent(pieces)
    assert len(whole.alerts) > 0


def test_rows_are_merged_by_time_since_the_start_of_each_recording() -> None:
    late = simulate("pump", duration_s=5, seed=1, start_us=10**15, asset="late")
    early = simulate("pump", duration_s=3, seed=2, start_us=0, asset="early")
    pipeline = open_pipeline("gw", None)
    (batch,) = batches_of([late, early], pipeline.directory)
    assert batch.asset.tolist() == [0, 1, 0, 1, 0, 1, 0, 0]
    assert batch.time_us[:2].tolist() == [10**15, 0]
    assert batch.value.reshape(8, 8)[6].tolist() == late.whole().values[3].tolist()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vedette", "backtest", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_command_prints_alerts_and_judges_them(tmp_path: Path) -> None:
    recordings = pumps()
    folder = fleet_file(recordings, tmp_path / "models")
    write_recording(recordings[0], path=tmp_path / "pump-0.csv")
    done = run(str(tmp_path / "pump-0.csv"), "--models", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["readings"] == facts["readings_scored"] == 3600 * 8
    assert facts["hits"] >= 1
    assert {"asset", "start", "end", "model", "version", "label"} == set(facts["alerts"][0])
    plain = run(str(tmp_path / "pump-0.csv"))
    assert "pump-0: " in plain.stdout
    assert "readings_per_s" in plain.stdout


def test_command_does_not_pass_over_a_model_that_cannot_serve(tmp_path: Path) -> None:
    write_recording(pumps(1)[0], path=tmp_path / "pump-0.csv")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bad.onnx").write_bytes(b"nonsense")
    for folder, code in (("models", 5), ("nowhere", 2)):
        done = run(str(tmp_path / "pump-0.csv"), "--models", str(tmp_path / folder))
        assert done.returncode == code, done.stderr
        assert "bad.onnx: " in done.stderr or code == 2


def test_command_refuses_what_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("nonsense\n1\n")
    done = run(str(tmp_path / "x.csv"))
    assert done.returncode == 3
    assert "x.csv" in done.stderr
