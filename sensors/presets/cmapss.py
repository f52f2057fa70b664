"""C-MAPSS, NASA's simulated turbofan engines run to failure: one asset an engine.

Saxena et al., Damage propagation modeling for aircraft engine run-to-failure simulation, PHM 2008.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from sensors.mapping import ChannelColumn, Mapping, TimeColumn
from sensors.presets.folder import files_under
from sensors.recording import Recording
from sensors.tablefile import recordings_of, stem_of
from wire.topics import safe_name

__all__ = ["open_cmapss"]

CYCLE_S = 3600.0  # a cycle is one flight; its length is not published
CHANNELS = ("opt_set1", "opt_set2", "opt_set3", *(f"s{n}" for n in range(1, 22)))
MAPPING = Mapping(
    delimiter=" ",
    time=TimeColumn(column="time", period_s=CYCLE_S),
    channels={name: ChannelColumn(name) for name in CHANNELS},
    labels={},
    asset_column="unit_number",
)


def open_cmapss(path: Path) -> list[Recording]:
    """Open a file or a folder; assets are named `<file>-<engine>`, such as `train_FD001-1`.

    One cycle is one hour from 2000-01-01. Raises RecordingError.
    """
    return [
        recording
        for file in files_under(path, pattern="t*_FD*.txt*")
        for recording in recordings_of(
            file, mapping=replace(MAPPING, asset=safe_name(stem_of(file)))
        )
    ]
