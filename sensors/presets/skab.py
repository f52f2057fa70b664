"""SKAB, the Skoltech Anomaly Benchmark: a water rig with eight channels, labels in the rows.

Katser and Kozitsin, Skoltech Anomaly Benchmark, 2020.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from sensors.mapping import ChannelColumn, LabelColumn, Mapping, TimeColumn
from sensors.presets.folder import files_under
from sensors.recording import Recording
from sensors.tablefile import recordings_of, stem_of
from wire.topics import safe_name

__all__ = ["open_skab"]

MAPPING = Mapping(
    delimiter=";",
    time=TimeColumn(column="datetime"),
    channels={
        "accelerometer1_rms": ChannelColumn("Accelerometer1RMS", "g"),
        "accelerometer2_rms": ChannelColumn("Accelerometer2RMS", "g"),
        "current": ChannelColumn("Current", "A"),
        "pressure": ChannelColumn("Pressure", "bar"),
        "temperature": ChannelColumn("Temperature", "degC"),
        "thermocouple": ChannelColumn("Thermocouple", "degC"),
        "voltage": ChannelColumn("Voltage", "V"),
        "flow_rate": ChannelColumn("Volume Flow RateRMS", "l/min"),
    },
    labels={"anomaly": LabelColumn("anomaly"), "changepoint": LabelColumn("changepoint")},
)


def open_skab(path: Path) -> list[Recording]:
    """Open a file or a folder; assets are named `<group>-<number>`, such as `valve1-0`.

    Labels of kind `changepoint` mark single rows. Raises RecordingError.
    """
    return [
        recording
        for file in files_under(path, pattern="*.csv")
        for recording in recordings_of(file, mapping=mapping_of(file), origin=origin_of(file))
    ]


def mapping_of(file: Path) -> Mapping:
    """Return the mapping with the asset's name: the group and the experiment's number."""
    stem, group = stem_of(file), file.resolve().parent.name
    return replace(MAPPING, asset=safe_name(stem if stem == group else f"{group}-{stem}"))


def origin_of(file: Path) -> str:
    """Return SKAB's own name of the experiment: `group/n.csv`."""
    return f"{file.resolve().parent.name}/{file.name}"
