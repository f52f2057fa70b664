"""docs/operations.md against the code: reasons, keys of the status, settings, files and figures."""

from __future__ import annotations

import ast
import importlib.util
import re
import typing
from pathlib import Path

import pytest

from cloud import gap_rows
from gateway import __main__ as program
from gateway import committer, links, retention, service
from gateway.config import StorageSection
from gateway.durable import recovery, surroundings
from gateway.ledger import Ledger
from wire.backoff import SLOW_BASE_S, SLOW_CAP_S
from wire.messages import GapMessage

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text("utf-8")
FLOWING = " ".join(DOCUMENT.split())
SOURCES = [*(ROOT / "gateway" / "decode").glob("*.py"), ROOT / "gateway" / "directory.py"]
SOURCES += [ROOT / "gateway" / "service.py", ROOT / "wire" / "codec.py"]
REASONS = sorted(
    {
        reason
        for path in SOURCES
        for reason in re.findall(r'MessageError\(\s*"(\w+)"', path.read_text("utf-8"))
    }
)


def rows_of(heading: str) -> list[str]:
    """First cells, without backticks, of the table whose first heading this is."""
    table = DOCUMENT.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def map_of_status(name: str) -> list[str]:
    """Keys of the map that the gateway puts into its status under this name."""
    tree = ast.parse((ROOT / "gateway" / "vitals.py").read_text("utf-8"))
    (found,) = (
        node.body[-1].value
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == f"_{name}"
    )
    return [key.value for key in found.keys if isinstance(key, ast.Constant)]


def test_the_reasons_were_found() -> None:
    assert {"bad_time", "no_rule", "too_large"} <= set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_explained(reason: str) -> None:
    assert re.search(rf"(?m)^\| .*`{reason}`", DOCUMENT)


def test_the_counts_of_readings_are_those_of_the_ledger() -> None:
    assert sorted(rows_of("count")) == sorted(Ledger().readings())
    assert rows_of("`ledger`") == list(Ledger().summary(pending=0))


@pytest.mark.parametrize("name", ["outbox", "storage"])
def test_the_keys_of_the_status_are_explained(name: str) -> None:
    assert rows_of(f"`{name}`") == map_of_status(name)


def test_each_reason_of_a_gap_is_explained() -> None:
    told = typing.get_args(typing.get_type_hints(GapMessage)["reason"])
    noted = (gap_rows.WITHHELD, gap_rows.UNKNOWN, gap_rows.REJECTED)
    assert sorted(rows_of("reason | what is lost")) == sorted([*told, *noted])


def test_each_setting_of_the_storage_is_explained_and_in_the_file() -> None:
    assert rows_of("`[storage]`") == list(StorageSection.__struct_fields__)
    section = (ROOT / "deploy" / "gateway.toml").read_text("utf-8").split("\n[storage]\n")[1]
    assert re.findall(r"^(\w+) =", section, re.MULTILINE) == rows_of("`[storage]`")


def test_the_files_are_those_that_the_gateway_makes() -> None:
    database = recovery.DATABASE
    head = Path(database).with_suffix(".head").name
    files = {
        database,
        f"{database}-wal",
        head,
        "ballast",
        recovery.SUSPECT,
        f"{database}.damaged-N",
    }
    assert set(rows_of("file")) == files


def test_the_figures_are_those_of_the_code() -> None:
    assert f"`commit_ms`, {StorageSection().commit_ms} ms after the first message" in FLOWING
    assert f"or at {committer.MOST_MESSAGES}," in FLOWING
    assert f"after {committer.SNAPSHOT_READINGS:,} readings" in FLOWING
    assert f"({committer.SNAPSHOT_READINGS_A_STREAM} a stream" in FLOWING
    assert f"{committer.SNAPSHOT_ROWS:,} commits" in FLOWING
    assert f"whole file up to {surroundings.CHECKED_BYTES // 1024**2} MiB" in FLOWING
    assert f"{retention.MERGED_BLOCKS} of those never sent are merged" in FLOWING
    assert f"at most {links.RECEIVE_MAX:,} messages" in FLOWING
    assert f"waits up to {service.DRAIN_S:.0f} s until" in FLOWING
    assert f"within {service.GOODBYE_S:.0f} s more" in FLOWING
    assert f"at most {service.MOST_FAULTS};" in FLOWING
    assert f"{SLOW_BASE_S / 2:.0f} to {SLOW_BASE_S:.0f} s" in FLOWING
    assert f"up to {SLOW_CAP_S / 60:.0f} min" in FLOWING
    assert f"`{program.MENDED}`" in FLOWING
    assert program.MOST_MENDED == 2
    assert "at most twice in the life of a process" in FLOWING


def test_what_is_to_be_run_exists() -> None:
    modules = re.findall(r"python -m ([\w.]+)", DOCUMENT)
    assert {"tests.chaos", "tests.storage"} <= set(modules)
    assert all(importlib.util.find_spec(module) for module in modules)
    targets = re.findall(r"^make (\w+)", DOCUMENT, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_links_lead_somewhere() -> None:
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text("utf-8")
        for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text):
            target = (page.parent / path) if path else page
            assert target.exists(), f"{page.name}: {path}"
            if anchor:
                assert anchor in anchors(target), f"{page.name}: {path}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
