"""A second witness of how far the database has come, in a file of its own.

A database whose write-ahead log was damaged opens without complaint, as it was some commits ago.
The head tells: it is written after each commit, and not synced, so that it costs microseconds.
After a power cut it may be behind the database, but ahead only of one that has been set back.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import msgspec

__all__ = ["Head", "HeadFile"]

SIZE = 512


class Head(msgspec.Struct, frozen=True):
    """Where the database stood after its newest commit."""

    epoch: str
    row: int
    """Newest row of the journal."""
    lanes: dict[str, int]
    """Newest sequence number of each lane."""
    confirmed: dict[str, int]
    """What the cloud had confirmed of each lane."""


class HeadFile:
    """One record of fixed size with a checksum, overwritten in place."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def read(self) -> Head | None:
        """Return the record; None where there is none or it is damaged."""
        data = os.pread(self._file, SIZE, 0)
        body, checksum = data[:-4].rstrip(b"\0"), data[-4:]
        if len(data) < SIZE or zlib.crc32(body).to_bytes(4, "little") != checksum:
            return None
        try:
            return msgspec.json.decode(body, type=Head)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def write(self, head: Head) -> None:
        """Overwrite the record; one too large, or a full disk, leaves the old one."""
        body = msgspec.json.encode(head)
        if len(body) <= SIZE - 4:
            record = body.ljust(SIZE - 4, b"\0") + zlib.crc32(body).to_bytes(4, "little")
            os.pwrite(self._file, record, 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
