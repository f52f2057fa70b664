"""Where a preset's files lie."""

from __future__ import annotations

from pathlib import Path

from sensors.errors import RecordingError

__all__ = ["files_under", "relative_to_root", "root_above"]


def files_under(path: Path, *, pattern: str) -> list[Path]:
    """Return the file itself, or the folder's matching files, sorted; raise RecordingError."""
    if path.is_file():
        return [path]
    found = sorted(path.rglob(pattern)) if path.is_dir() else []
    if not found:
        got = "no such file" if path.is_dir() else "no such path"
        raise RecordingError(path, expected=f"a file, or a folder with {pattern}", got=got)
    return found


def root_above(path: Path, *, marker: str) -> Path | None:
    """Return the nearest folder, from `path` upwards, that holds the marker; None without one."""
    folders = [path, *path.resolve().parents]
    return next((folder for folder in folders if (folder / marker).exists()), None)


def relative_to_root(file: Path, *, root: Path | None) -> str:
    """Return the file's path below the root, or its name without a root."""
    return file.resolve().relative_to(root.resolve()).as_posix() if root else file.name
