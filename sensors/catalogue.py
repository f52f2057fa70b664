"""The catalogue: from a path and a preset or a mapping to recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from sensors.errors import MappingError, RecordingError
from sensors.mapping import Mapping, read_mapping
from sensors.presets.cmapss import open_cmapss
from sensors.presets.femto import open_femto
from sensors.presets.lro import open_lro
from sensors.presets.nab import open_nab
from sensors.presets.skab import open_skab
from sensors.presets.smap import open_smap
from sensors.recorded import is_recorded, recordings_of_messages
from sensors.recording import Recording
from sensors.tablefile import SUFFIXES, recordings_of
from wire.topics import safe_name

__all__ = ["PRESETS", "distinct", "open_recordings"]

PRESETS: MappingProxyType[str, Callable[[Path], list[Recording]]] = MappingProxyType(
    {
        "nab": open_nab,
        "skab": open_skab,
        "smap": open_smap,
        "lro": open_lro,
        "femto": open_femto,
        "cmapss": open_cmapss,
    }
)


def open_recordings(
    path: str | Path, *, preset: str | None = None, mapping: str | Path | Mapping | None = None
) -> list[Recording]:
    """Open a file's recordings, or those of a folder's files by name; assets are distinct.

    Without preset and mapping a file is one that `record` or `simulate` wrote, or has columns
    `time` (ISO 8601), `label` when there, and channels. Raises RecordingError for what cannot be
    read and MappingError for the rest.
    """
    path = Path(path)
    if preset is None:
        return distinct(open_mapped(path, mapping=mapping_from(mapping)))
    if mapping is not None:
        raise MappingError("expected a preset or a mapping, got both")
    if preset not in PRESETS:
        raise MappingError(f"expected a preset of {', '.join(PRESETS)}, got {preset!r}")
    return distinct(PRESETS[preset](path))


def mapping_from(given: str | Path | Mapping | None) -> Mapping:
    """Return the mapping itself, the one that a file holds, or the default."""
    if given is None:
        return Mapping()
    return given if isinstance(given, Mapping) else read_mapping(Path(given))


def open_mapped(path: Path, *, mapping: Mapping) -> list[Recording]:
    """Open a file, or every file of a folder whose name tells a known format."""
    if path.is_file():
        return open_file(path, mapping=mapping, origin=path.name)
    files = [file for file in sorted(path.rglob("*")) if is_table(file)] if path.is_dir() else []
    if not files:
        expected = f"a file, or a folder with *{', *'.join(SUFFIXES)}"
        raise RecordingError(path, expected=expected, got="none" if path.is_dir() else "no path")
    return [
        recording
        for file in files
        for recording in open_file(file, mapping=mapping, origin=file.relative_to(path).as_posix())
    ]


def open_file(path: Path, *, mapping: Mapping, origin: str) -> list[Recording]:
    """Open the recorder's own file, or a table by the mapping."""
    if is_recorded(path):
        return recordings_of_messages(path)
    return recordings_of(path, mapping=mapping, origin=origin)


def is_table(path: Path) -> bool:
    """Tell whether the name is one of a known format."""
    return path.is_file() and Path(path.name.removesuffix(".gz")).suffix in SUFFIXES


def distinct(recordings: list[Recording]) -> list[Recording]:
    """Put the folders' names before assets that share one; raise RecordingError if that fails."""
    shared = {n for n, count in Counter(r.asset for r in recordings).items() if count > 1}
    named = [
        replace(recording, asset=safe_name(recording.origin.replace("/", "-")))
        if recording.asset in shared
        else recording
        for recording in recordings
    ]
    for asset, count in Counter(r.asset for r in named).items():
        if count > 1:
            origins = ", ".join(r.origin for r in named if r.asset == asset)
            raise RecordingError(origins, expected="one recording an asset", got=f"{count} {asset}")
    return named
