from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud.database import database_url, open_database
from cloud.records import ExcerptRecord, GapRecord, SummaryRecord
from cloud.store import Store
from tests.cloud.coupled import coupled_rows, excerpt, summary
from vedette.broker import Broker, free_port
from vedette.commands.cloud import app
from wire.blocks import encode_excerpt
from wire.contract import read_model
from wire.messages import GapMessage

WAIT_S = 20.0


def invoke(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    return (
        result.exit_code,
        [json.loads(line) for line in result.stdout.splitlines()],
        result.stderr,
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "cloud.sqlite"
    block = excerpt(1, coupled_rows(0, 400))
    store = Store(open_database(database_url(str(path))))
    store.write([ExcerptRecord(block, encode_excerpt(block))], received_us=1)
    return path


def test_train_registers_promotes_and_writes_the_file(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    code, (trained,), _ = invoke("train", "--database", str(database), "--out", str(out))
    assert (code, trained["event"], trained["version"]) == (0, "trained", 1)
    assert read_model(out.read_bytes()).sha256 == trained["sha256"]
    code, (model,), _ = invoke("models", "--database", str(database))
    assert (code, model["sha256"], model["champion"]) == (0, trained["sha256"], True)
    code, (stored, *_), _ = invoke("status", "--database", f"sqlite:///{database}")
    assert (code, stored["excerpts"], stored["models"]) == (0, 1, 1)


def test_status_tells_what_is_stored_and_what_is_lost(database: Path) -> None:
    store = Store(open_database(database_url(str(database))))
    report = GapMessage(
        gateway="g1", epoch="u", seq=1, reason="cap", lost_epoch="e1", first=2, last=4,
        readings=(5, 6, 7),
    )  # fmt: skip
    store.write([SummaryRecord(summary(3)), GapRecord(report)], received_us=1)
    code, (_, *lines), _ = invoke("status", "--database", str(database))
    g1 = {"gateway": "g1"}
    gap = {"epoch": "e1", "source": "", "reason": "cap", "messages": 2, "readings": 12}
    assert code == 0
    assert lines == [
        {"event": "ledger", **g1, "epoch": "e1", "stored_seq": 4, "stored": 2, "lost": 2},
        {"event": "ledger", **g1, "epoch": "u", "stored_seq": 1, "stored": 1, "lost": 0},
        {"event": "gap", **g1, **gap},
        {"event": "readings", **g1, "in_summaries": 120, "missing": 0, "in_gaps": 12},
    ]


@pytest.mark.parametrize("command", ["status", "models", "train"])
def test_a_wrong_file_is_refused_and_not_made(tmp_path: Path, command: str) -> None:
    wrong = tmp_path / "wrong.sqlite"
    code, lines, stderr = invoke(command, "--database", str(wrong))
    assert (code, lines) == (3, [])
    assert "let `vedette cloud run" in stderr
    assert not wrong.exists()


def test_nothing_to_train_on_is_a_finding(database: Path) -> None:
    code, (refused,), stderr = invoke("train", "--database", str(database), "--min-rows", "500")
    assert (code, refused["event"]) == (1, "not_trained")
    assert "expected 500 rows, got 400" in refused["why"]
    assert "enough rows" in stderr


def test_errors_have_their_exit_codes(database: Path, tmp_path: Path) -> None:
    nobody = f"mqtt://127.0.0.1:{free_port()}"
    code, _, stderr = invoke("run", "--broker", nobody, "--database", str(database))
    assert code == 4, stderr
    code, _, stderr = invoke("run", "--broker", "http://x", "--database", str(database))
    assert (code, "expected mqtt://" in stderr) == (2, True)
    code, _, stderr = invoke("status", "--database", str(tmp_path / "no" / "cloud.sqlite"))
    assert (code, "expected the database of a cloud" in stderr) == (3, True)


async def test_run_trains_pushes_and_stops_on_a_signal(broker: Broker, database: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from vedette.commands.cloud import app; app()", "run", "--json"),
        *("--broker", broker.url, "--database", str(database), "--min-rows", "100"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    events: list[str] = []
    async with asyncio.timeout(WAIT_S):
        while events.count("pushed") < 2:
            events.append(json.loads(await process.stdout.readline())["event"])
        process.send_signal(signal.SIGTERM)
        await process.stdout.read()
        assert await process.wait() == 0
    assert events == ["started", "pushed", "trained", "pushed"]
