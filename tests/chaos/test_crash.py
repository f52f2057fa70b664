"""Crash points are where they are said to be, and a process ends there and nowhere else."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.crash import Crash, parse_crash
from tests.chaos.points import POINTS, Step
from tests.chaos.wrapping import find

ROOT = Path(__file__).parents[2]
PROBE = """\
import sqlite3, sys
from tests.chaos import crash
from tests.chaos.points import POINTS, Step
POINTS["probe-sql"] = Step("gateway", statement=sys.argv[2])
POINTS["probe-call"] = Step("gateway", "wire.codec.encode_json")
crash.arm(crash.parse_crash(sys.argv[1]))
from wire.codec import encode_json
connection = sqlite3.connect(":memory:", isolation_level=None)
connection.execute("CREATE TABLE t (x)")
for number in range(3):
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t VALUES (?)", [(number,)])
    print("inserted", number, flush=True)
    connection.execute("COMMIT")
    print("committed", encode_json(number).decode(), flush=True)
"""


def probe(crash: str, statement: str = "COMMIT") -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, crash, statement],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(("name", "step"), POINTS.items())
def test_every_point_is_found_in_the_product(name: str, step: Step) -> None:
    assert bool(step.path) != bool(step.statement)
    if step.path:
        assert find(step.path).function


def test_a_process_ends_before_or_after_the_nth_statement() -> None:
    assert probe("probe-sql:before") == (-signal.SIGKILL, ["inserted 0"])
    assert probe("probe-sql:after:2") == (
        -signal.SIGKILL,
        ["inserted 0", "committed 0", "inserted 1"],
    )
    assert probe("probe-sql:before:2", "INSERT") == (
        -signal.SIGKILL,
        ["inserted 0", "committed 0"],
    )


def test_a_process_ends_at_a_call_also_where_it_was_imported_by_name() -> None:
    assert probe("probe-call:before:2") == (
        -signal.SIGKILL,
        ["inserted 0", "committed 0", "inserted 1"],
    )


def test_a_point_that_is_never_reached_ends_nothing() -> None:
    code, said = probe("probe-sql:before:9")
    assert (code, len(said)) == (0, 6)


def test_what_to_crash_is_read_from_text() -> None:
    name = next(iter(POINTS))
    assert parse_crash(f"{name}:after:3") == Crash(name, "after", 3)
    assert parse_crash(name) == Crash(name, "before", 1)
    assert str(parse_crash(name)) == f"{name}:before:1"
    for wrong in ("nowhere", f"{name}:within", f"{name}:after:x"):
        with pytest.raises(ValueError, match="expected POINT"):
            parse_crash(wrong)
