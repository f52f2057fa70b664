"""The mapping from a file's columns to event time, channels, labels and asset."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from sensors.errors import MappingError

__all__ = ["ChannelColumn", "LabelColumn", "Mapping", "TimeColumn", "read_mapping"]

MISSING = ("", "NULL", "null", "NaN", "nan", "NA", "N/A", "None")


class TimeColumn(Struct, frozen=True, forbid_unknown_fields=True):
    """How a row tells its event time: by a clock, a count of periods, or its row number."""

    column: str | None = None
    """Holds the time, or with `period_s` a count of periods; None = `time`, or the row number."""
    format: str = "iso"
    """`iso`, `unix_s`, `unix_ms`, `unix_us`, or a strptime pattern."""
    zone: str = "UTC"
    """IANA time zone of times that state none."""
    period_s: float | None = None
    """Seconds of one period, for a recording without times."""
    start: str = "2000-01-01T00:00:00Z"
    """Time of period 0, ISO 8601."""

    @property
    def column_read(self) -> str | None:
        """Name of the column that is read; None when the row number counts the periods."""
        return "time" if self.column is None and self.period_s is None else self.column


class ChannelColumn(Struct, frozen=True, forbid_unknown_fields=True):
    """One column that is published."""

    column: str
    unit: str = ""


class LabelColumn(Struct, frozen=True, forbid_unknown_fields=True):
    """One column that marks anomalous rows and is never published.

    Empty and missing cells, 0 and false mean normal. Any other number or true gives a label of
    the table's own name; any other text gives labels named by that text, several joined by `+`.
    """

    column: str
    channel: str | None = None
    """The one channel that the label is about."""
    clear: tuple[str, ...] = ("0", "0.0", "false", "False")
    """Cells that mean normal, beside the missing ones."""


class Mapping(Struct, frozen=True, forbid_unknown_fields=True):
    """How to read one recording; tables `channels` and `labels` are named by what they give."""

    time: TimeColumn = TimeColumn()
    channels: dict[str, ChannelColumn] = {}
    """Channel name -> column; empty = every column that is no time, label or asset."""
    labels: dict[str, LabelColumn] = msgspec.field(
        default_factory=lambda: {"label": LabelColumn("label")}
    )
    """Label kind -> column; a column that the file lacks is passed over."""
    asset: str | None = None
    """Asset of the whole file; None = the file's name without suffixes."""
    asset_column: str | None = None
    """Column that names each row's asset; gives one recording an asset."""
    delimiter: str = ","
    """Between cells of a text table; one space stands for any run of blanks."""
    missing: tuple[str, ...] = MISSING
    """Cells that mean `observed as missing`."""


def read_mapping(path: Path) -> Mapping:
    """Read a mapping from TOML; raise MappingError naming the file and the key at fault."""
    try:
        mapping = msgspec.toml.decode(path.read_bytes(), type=Mapping)
    except OSError as error:
        raise MappingError(f"{path}: expected a readable mapping, got {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: expected a recording mapping, got: {error}") from error
    return checked(mapping, path=path)


def checked(mapping: Mapping, *, path: Path) -> Mapping:
    """Return the mapping; raise MappingError when its parts contradict each other."""
    if len(mapping.delimiter) != 1:
        raise MappingError(
            f"{path}: key `delimiter`: expected one character, got {mapping.delimiter!r}"
        )
    period_s = mapping.time.period_s
    if period_s is not None and period_s <= 0:
        raise MappingError(f"{path}: key `time.period_s`: expected seconds > 0, got {period_s}")
    unknown = [
        f"labels.{kind}.channel = {label.channel!r}"
        for kind, label in mapping.labels.items()
        if mapping.channels and label.channel and label.channel not in mapping.channels
    ]
    if unknown:
        raise MappingError(f"{path}: expected labels of mapped channels, got {unknown[0]}")
    return mapping
