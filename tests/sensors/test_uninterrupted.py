"""Ctrl-C in the middle of what must happen whole takes effect after it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sensors.kept import KeptReadings
from sensors.uninterrupted import uninterrupted


def test_an_interrupt_waits_for_the_end() -> None:
    done: list[str] = []

    def interrupted() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["whole"]


def test_what_was_kept_when_ctrl_c_came_is_kept_once(tmp_path: Path) -> None:
    kept = KeptReadings(tmp_path / "k")
    kept.open_source("s")

    def bodies() -> list[bytes]:
        os.kill(os.getpid(), signal.SIGINT)
        return [b"1"]

    with pytest.raises(KeyboardInterrupt), uninterrupted():
        kept.append({"s": bodies()})
    kept.append({"s": [b"2"]})
    assert [row.seq for row in kept.unconfirmed("s", after=0, limit=9)] == [1, 2]
    kept.close()
