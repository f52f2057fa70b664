"""The independent checker: proves from outside that nothing was lost and nothing counts twice.

It shares no code with the product: it reads the producers' log and the cloud's database itself.
Only the alerts that the readings call for are computed by the product, in a process of its own.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.chaos.produced import Produced, read_log
from tests.chaos.signalling import Signals, check_signals
from tests.chaos.stored import Stored, read_database
from tests.chaos.tally import Tally, tally

__all__ = ["Report", "check"]

ROOT = Path(__file__).parents[2]
RECOMPUTE_S = 600.0


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict; all counts but those of alerts are readings."""

    published: int
    stored: int
    gaps: int
    lost: int
    duplicated: int
    out_of_order: int
    pending: int
    alerts_expected: int
    alerts_got: int
    alerts_missing: int
    alerts_extra: int
    findings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def facts(self) -> dict[str, Any]:
        """Everything, for JSON; of many findings only the first."""
        return dataclasses.asdict(self) | {"findings": list(self.findings[:50]), "ok": self.ok}


def check(
    logs: Sequence[Path],
    database: Path,
    *,
    config: Path | None = None,
    is_over: bool = True,
    events: Sequence[dict[str, Any]] | None = None,
) -> Report:
    """Compare what was produced with what is stored; `config` is the gateway's file.

    While the run is not over, what is not there yet is pending instead of lost. `events` are the
    alerts to expect where they are known; else they are computed from the logs.
    """
    produced = read_log(*logs)
    stored = read_database(database)
    found = tally(produced, stored, is_over=is_over)
    lost = [dataclasses.asdict(gap.range) for gap in stored.gaps if gap.source]
    expected = expected_alerts(logs, config, lost) if events is None else list(events)
    signals = check_signals(stored, expected, is_over=is_over)
    others = [*_faults_of_excerpts(produced, stored), *_faults_of_ledgers(stored, is_over=is_over)]
    return _report(produced, found, signals, others)


def expected_alerts(
    logs: Sequence[Path], config: Path | None, lost: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Let a process of the product compute the alerts of the logged readings."""
    command = [sys.executable, "-m", "tests.chaos.recompute", *map(str, logs)]
    command += ["--lost", json.dumps(lost)]
    command += ["--config", str(config)] if config else []
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=RECOMPUTE_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the recomputation failed: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _faults_of_excerpts(produced: Produced, stored: Stored) -> Iterable[str]:
    """Each excerpt is there once, and holds as many rows as were produced in its span."""
    for excerpt, times in Counter(stored.excerpts).items():
        name = f"excerpt {excerpt.reason} of {excerpt.asset} at {excerpt.start_us} us"
        if times > 1:
            yield f"{name}: stored {times} times"
        rows = produced.sources.get(excerpt.asset)
        taken = np.zeros(0, np.int64) if rows is None else rows.times_us
        if rows is not None:
            gone = rows.covered(gap.range for gap in stored.gaps if gap.source == excerpt.asset)
            taken = taken[~gone]
        inside = int(((taken >= excerpt.start_us) & (taken <= excerpt.end_us)).sum())
        if inside != excerpt.rows:
            yield f"{name}: holds {excerpt.rows} rows, {inside} were produced there"


def _faults_of_ledgers(stored: Stored, *, is_over: bool) -> Iterable[str]:
    for (gateway, epoch), beyond in stored.holes.items() if is_over else ():
        yield f"{gateway}, epoch {epoch}: {beyond} messages wait behind a hole"


def _report(produced: Produced, found: Tally, signals: Signals, others: Iterable[str]) -> Report:
    findings = [*produced.findings, *found.findings, *signals.findings, *others]
    return Report(
        published=produced.readings,
        stored=found.stored,
        gaps=found.gaps,
        lost=found.lost,
        duplicated=found.duplicated + signals.duplicated,
        out_of_order=found.out_of_order + signals.out_of_order,
        pending=found.pending,
        alerts_expected=signals.expected,
        alerts_got=signals.got,
        alerts_missing=signals.missing,
        alerts_extra=signals.extra,
        findings=(*findings, *_broken_law(produced, found)),
    )


def _broken_law(produced: Produced, found: Tally) -> Iterable[str]:
    """The law of conservation, over the totals."""
    places = found.stored - found.duplicated + found.gaps + found.lost + found.pending
    if found.lost or found.duplicated or places != produced.readings:
        yield (
            f"produced {produced.readings} readings, stored {found.stored}, reported as gaps "
            f"{found.gaps}: {found.lost} lost, {found.duplicated} counted twice"
        )
