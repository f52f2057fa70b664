"""Outages below the disk cap lose nothing; over it everything that goes is told, by class."""

from __future__ import annotations

from pathlib import Path

from tests.storage.cap import run_outages

HOURS = 2


def test_an_outage_below_the_cap_loses_nothing_and_over_it_tells_of_everything(
    tmp_path: Path,
) -> None:
    outcome = run_outages(tmp_path, HOURS, seed=1)
    assert not outcome.findings
    figures = outcome.figures
    readings = HOURS * 3600 * 100
    assert figures["roomy: readings that came"] == figures["roomy: readings"] == readings
    assert not figures["roomy: gaps made"]
    assert figures["small: bytes of history the cap took"]
    assert figures["small: gap records, merged"]
    assert figures["small: gap records, cap"]
    assert figures["small: alerts made"]
    came, dropped = figures["tiny: readings that came"], figures["tiny: readings dropped"]
    assert came + dropped == readings
    assert dropped > came
