"""Text files, plain or gzip-compressed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO, cast

from sensors.errors import RecordingError

__all__ = ["open_for_writing", "open_text"]


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open UTF-8 text, decompressed when the name ends in `.gz`; raise RecordingError."""
    try:
        with plain_or_gzip(path) as text:
            yield text
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise RecordingError(path, expected="readable UTF-8 text", got=str(error)) from error


def plain_or_gzip(path: Path) -> TextIO:
    """Open for reading by suffix, newlines untouched, a byte-order mark passed over."""
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


@contextmanager
def open_for_writing(path: Path) -> Iterator[TextIO]:
    """Open UTF-8 text for writing, compressed by suffix; equal text gives equal bytes."""
    if path.suffix != ".gz":
        with path.open("w", encoding="utf-8", newline="") as text:
            yield text
        return
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        yield text
