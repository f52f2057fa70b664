"""SMAP and MSL, telemetry of a satellite and a Mars rover; labels in a table beside them.

Hundman et al., Detecting spacecraft anomalies using LSTMs, KDD 2018.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from sensors.errors import RecordingError
from sensors.eventtime import time_parser
from sensors.formats.textfile import open_text
from sensors.mapping import Mapping, TimeColumn
from sensors.presets.folder import files_under, root_above
from sensors.recording import Label, Recording
from sensors.tablefile import recordings_of, stem_of

__all__ = ["open_smap"]

PERIOD_S = 60.0  # not published with the data; telemanom's authors speak of one-minute steps
START = "2000-01-01T00:00:00Z"
LABELS = "labeled_anomalies.csv"
MAPPING = Mapping(time=TimeColumn(period_s=PERIOD_S, start=START), labels={})
SPAN = re.compile(r"\[(\d+), (\d+)\]")

Spans = dict[tuple[str, str], list[tuple[int, int]]]


def open_smap(path: Path) -> list[Recording]:
    """Open a file or a folder; a folder above `train` and `test` gives the test parts.

    One row is one minute from 2000-01-01, for the period is not published. Channel `value` is the
    telemetry, `cmdN` are commands. Raises RecordingError.
    """
    root = root_above(path, marker=LABELS)
    spans = read_spans(root / LABELS) if root else {}
    files = files_under(path, pattern="*.csv.gz")
    wanted = [file for file in files if file.parent.name != "train"] or files
    return [recording for file in wanted for recording in open_file(file, spans=spans)]


def open_file(file: Path, *, spans: Spans) -> list[Recording]:
    """Open one channel of one craft with its labels, which are about the test part."""
    craft, part = file.resolve().parts[-3:-1]
    found = spans.get((craft, stem_of(file)), []) if part == "test" else []
    origin = f"{craft}/{part}/{file.name}"
    return recordings_of(file, mapping=MAPPING, origin=origin, labels=labels_of_spans(found))


def labels_of_spans(spans: list[tuple[int, int]]) -> tuple[Label, ...]:
    """Return row spans as labels in time, by start."""
    start_us = time_parser("iso")(START)
    step_us = round(PERIOD_S * 1e6)
    return tuple(
        Label(start_us + first * step_us, start_us + last * step_us, "anomaly", "value")
        for first, last in sorted(spans)
    )


def read_spans(path: Path) -> Spans:
    """Read (craft, channel) -> row spans; raise RecordingError for missing columns."""
    spans: Spans = {}
    with open_text(path) as text:
        rows = csv.DictReader(text)
        try:
            for row in rows:
                key = (row["spacecraft"], row["chan_id"])
                found = SPAN.findall(row["anomaly_sequences"])
                spans.setdefault(key, []).extend((int(a), int(b)) for a, b in found)
        except KeyError as error:
            column, names = str(error.args[0]), str(rows.fieldnames)
            raise RecordingError(path, column=column, expected="this column", got=names) from error
    return spans
