"""A disk that may lose power: what was not synced is there, or not, or half.

Each file has an image that would survive and the changes since then. At the cut a part of those
changes reaches the image: none, all, the first ones, or any of them, the last one torn at a sector.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

__all__ = ["SECTOR", "Disk"]

SECTOR = 512
WRITTEN_BACK = 64
"""Changes of a file that nobody syncs after which the oldest reaches the disk by itself."""
Change: TypeAlias = tuple[int, bytes | None]
"""(offset, data), or (new size, None)."""


@dataclass
class Recorded:
    """One file: what is on the disk, and what only the cache has."""

    image: bytearray = field(default_factory=bytearray)
    changes: list[Change] = field(default_factory=list)
    is_certain: bool = False
    """Whether the name itself is on the disk."""
    is_gone: bool = False
    """Whether it was deleted, and only the name may come back."""
    before: bytes | None = None
    """What the file held that had this name before, as long as it may come back."""

    def sync(self) -> None:
        """Bring everything to the disk."""
        put(self.image, self.changes)
        self.changes.clear()
        self.is_certain, self.before = True, None

    def after_cut(self, rng: random.Random) -> bytes | None:
        """Return what a power cut leaves; None where not even the name."""
        if self.is_gone or (not self.is_certain and rng.random() < 0.3):
            return self.before if rng.random() < 0.5 else None
        image = bytearray(self.image)
        put(image, survivors(self.changes, rng))
        return bytes(image)


@dataclass
class Disk:
    """The files of one folder, by name, and the moment of the cut."""

    rng: random.Random
    cut_at: int
    """Operation before which the power goes."""
    lies: float = 0.0
    """Share of syncs that do nothing and say that they have."""
    files: dict[str, Recorded] = field(default_factory=dict)
    operations: int = 0
    lied: int = 0
    left: dict[str, bytes] | None = None
    """What the cut has left, by name; None before it."""

    @classmethod
    def of(cls, folder: Path, rng: random.Random, *, cut_at: int, lies: float = 0.0) -> Disk:
        """Take in the files of a folder as they are."""
        disk = cls(rng, cut_at, lies)
        for path in sorted(folder.iterdir()):
            disk.files[path.name] = Recorded(bytearray(path.read_bytes()), is_certain=True)
        return disk

    @property
    def is_cut(self) -> bool:
        """Whether the power is gone: nothing that happens now reaches the disk."""
        return self.left is not None

    def open(self, name: str, *, is_new: bool) -> None:
        """Note that a file is in use; a new one is another one than had the name before."""
        before = self.files.get(name)
        if before is None or (is_new and not before.is_gone):
            self.files[name] = Recorded()
        else:
            before.is_gone = False

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Note a write, which the cut may tear."""
        self._change(name, (offset, data))

    def truncate(self, name: str, size: int) -> None:
        """Note that a file ends at `size`."""
        self._change(name, (size, None))

    def write_unsynced(self, name: str, data: bytes) -> None:
        """Note a file that is overwritten and never synced: the system writes it some time."""
        self._change(name, (0, data))
        changes = self.files[name].changes
        while len(changes) > WRITTEN_BACK:
            put(self.files[name].image, [changes.pop(0)])

    def sync(self, name: str) -> None:
        """Bring a file to the disk, unless this disk lies."""
        self._step()
        if self.is_cut:
            return
        if self.lies and self.rng.random() < self.lies:
            self.lied += 1
            return
        if not self.files[name].is_certain:
            self._sync_names()
        self.files[name].sync()

    def _sync_names(self) -> None:
        """SQLite brings the folder to the disk together with a new file."""
        for name, file in list(self.files.items()):
            file.before = None
            if file.is_gone:
                del self.files[name]

    def delete(self, name: str) -> None:
        """Note that a name is gone; it comes back where the cut is soon enough."""
        self._step()
        if not self.is_cut and (old := self.files.pop(name, None)):
            before = bytes(old.image) if old.is_certain else old.before
            self.files[name] = Recorded(is_gone=True, before=before)

    def cut(self) -> None:
        """Take the power away now."""
        if self.left is None:
            found = {name: file.after_cut(self.rng) for name, file in self.files.items()}
            self.left = {name: data for name, data in found.items() if data is not None}

    def put_into(self, folder: Path) -> None:
        """Write what is left into an empty folder."""
        assert self.left is not None
        folder.mkdir(parents=True)
        for name, data in self.left.items():
            (folder / name).write_bytes(data)

    def _change(self, name: str, change: Change) -> None:
        if self.is_cut:
            return
        self.files[name].changes.append(change)
        self._step()

    def _step(self) -> None:
        self.operations += 1
        if self.operations >= self.cut_at:
            self.cut()


def put(image: bytearray, changes: Iterable[Change]) -> None:
    """Apply changes to an image."""
    for at, data in changes:
        if data is None:
            del image[at:]
        elif at > len(image):
            image.extend(bytes(at - len(image)))
        if data is not None:
            image[at : at + len(data)] = data


def survivors(changes: list[Change], rng: random.Random) -> list[Change]:
    """Choose what of the changes reaches the disk."""
    mode = rng.choice(("none", "all", "first", "any", "torn"))
    if mode == "none" or not changes:
        return []
    if mode in {"all", "torn"}:
        chosen = list(changes)
    elif mode == "first":
        chosen = changes[: rng.randrange(len(changes) + 1)]
    else:
        chosen = [change for change in changes if rng.random() < 0.5]
    return torn(chosen, rng) if mode != "all" else chosen


def torn(changes: list[Change], rng: random.Random) -> list[Change]:
    """End the last write at a sector's border in the file."""
    if not changes or changes[-1][1] is None:
        return changes
    at, data = changes[-1]
    border = SECTOR - at % SECTOR
    cuts = range(border, len(data), SECTOR)
    return [*changes[:-1], (at, data[: rng.choice(cuts)])] if cuts else changes
