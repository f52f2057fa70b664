"""NAB, the Numenta Anomaly Benchmark: one value a file, windows in a JSON file.

Lavin and Ahmad, Evaluating real-time anomaly detection algorithms, ICMLA 2015.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from sensors.errors import RecordingError
from sensors.eventtime import time_parser
from sensors.mapping import ChannelColumn, Mapping, TimeColumn
from sensors.presets.folder import files_under, relative_to_root, root_above
from sensors.recording import Label, Recording
from sensors.tablefile import recordings_of

__all__ = ["open_nab"]

WINDOWS = "labels/combined_windows.json"
MAPPING = Mapping(
    time=TimeColumn(column="timestamp"), channels={"value": ChannelColumn("value")}, labels={}
)

Windows = dict[str, list[tuple[str, str]]]


def open_nab(path: Path) -> list[Recording]:
    """Open a file, a category, or the whole corpus; `origin` is NAB's `category/file.csv`.

    Raises RecordingError for an unreadable file or label file.
    """
    root = root_above(path, marker=WINDOWS)
    windows = read_windows(root / WINDOWS) if root else {}
    data = root / "data" if root else None
    below = data if data and path.is_dir() and path.resolve() == root_of(data) else path
    return [
        recording
        for file in files_under(below, pattern="*.csv")
        for recording in open_file(file, data=data, windows=windows)
    ]


def root_of(data: Path) -> Path:
    """Return the corpus folder above its data folder."""
    return data.resolve().parent


def open_file(file: Path, *, data: Path | None, windows: Windows) -> list[Recording]:
    """Open one file with the windows that its name has in the label file."""
    origin = relative_to_root(file, root=data)
    labels = tuple(map(label_of, windows[origin])) if origin in windows else ()
    return recordings_of(file, mapping=MAPPING, origin=origin, labels=labels)


def read_windows(path: Path) -> Windows:
    """Read file -> windows; raise RecordingError when the label file is another thing."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Windows)
    except (OSError, msgspec.DecodeError) as error:
        expected = "a JSON object of [first, last] windows"
        raise RecordingError(path, expected=expected, got=str(error)) from error


def label_of(window: tuple[str, str]) -> Label:
    """Return the window as a label; both of its ends are inside."""
    first, last = map(time_parser("iso"), window)
    return Label(first, last, "anomaly", "value")
