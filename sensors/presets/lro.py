"""LRO, water quality of the Logan River Observatory; a technician's qualifiers are the labels.

Jones et al., Toward automating post processing of aquatic sensor data, 2022.
"""

from __future__ import annotations

from pathlib import Path

from sensors.mapping import ChannelColumn, LabelColumn, Mapping, TimeColumn
from sensors.presets.folder import files_under
from sensors.recording import Recording
from sensors.tablefile import recordings_of

__all__ = ["open_lro"]

UNITS = {
    "temp": "degC",
    "cond": "uS/cm",
    "ph": "pH",
    "do": "mg/l",
    "turb": "NTU",
    "stage": "cm",
}
MAPPING = Mapping(
    time=TimeColumn(column="datetime", zone="Etc/GMT+7"),
    channels={name: ChannelColumn(name, unit) for name, unit in UNITS.items()},
    labels={
        f"{name}_flagged": LabelColumn(f"{name}_qual", channel=name, clear=()) for name in UNITS
    },
)


def open_lro(path: Path) -> list[Recording]:
    """Open a site's year or a folder of them: raw values as sensed, -9999 included.

    Times are the observatory's standard time (UTC-7). Raises RecordingError.
    """
    return [
        recording
        for file in files_under(path, pattern="*.csv.gz")
        for recording in recordings_of(file, mapping=MAPPING)
    ]
