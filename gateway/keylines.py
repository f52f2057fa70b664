"""Where the keys of a TOML text stand, which the parser of the standard library does not tell."""

from __future__ import annotations

import re
from collections import Counter
from typing import TypeAlias

__all__ = ["KeyLines", "Path"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and, for arrays of tables, indices: `("source", 1, "time")`."""

HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


class KeyLines:
    """Line numbers, from 1, of tables and keys; inline tables are found by the key they are of."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        self._tables: Counter[Path] = Counter()
        table: Path = ()
        for number, line in enumerate(text.splitlines(), 1):
            if header := HEADER.match(line):
                table = self._open(_parts(header.group(2)), in_array=header.group(1) == "[[")
                self._note(table, number)
            elif key := KEY.match(line):
                self._note(table + _parts(key.group(1)), number)

    def find(self, path: Path) -> int:
        """Return the line of a key, or of what it would be in, else 1."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return 1

    def _open(self, names: tuple[str, ...], *, in_array: bool) -> Path:
        path: Path = ()
        for depth, name in enumerate(names, 1):
            path = (*path, name)
            if in_array and depth == len(names):
                self._tables[path] += 1
            if self._tables[path]:
                path = (*path, self._tables[path] - 1)
        return path

    def _note(self, path: Path, number: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], number)


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in key.split("."))
