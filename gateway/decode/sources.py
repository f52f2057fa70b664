"""What was taken in of each source of our own: its newest (epoch, seq), so nothing counts twice."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Lost", "SourceMark", "Sources", "Verdict"]

REACH = 65_535
"""Most messages that MQTT has under way: what is further off is neither repeated nor lost."""
EPOCHS_REMEMBERED = 16


class Verdict(enum.Enum):
    """What to do with a message."""

    NEW = "new"
    DUPLICATE = "duplicate"
    EARLY = "early"
    """A message before it is missing and will come again, and then this one too."""
    JUMPED = "jumped"
    """Taken in, but its number is too far off to say what is missing."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages first..last of a source's epoch that will never come."""

    source: str
    epoch: str
    first: int
    last: int
    marked: bool = True
    """Whether anything of that epoch is known here; else some may have been taken in before."""


@dataclass(slots=True)
class SourceMark:
    """Identity of the newest message taken in of one source."""

    epoch: str = ""
    seq: int = 0
    older: dict[str, int] = field(default_factory=dict)
    """Newest seq of the epochs before, oldest first: a broker may repeat what it once stored."""
    asset: int = -1
    moved: set[int] = field(default_factory=set)
    """Assets whose marks changed otherwise than by counting on; all marks of a gateway share it."""

    def judge(self, epoch: str, seq: int, *, kept: bool) -> Verdict:
        """Say whether the message is taken in, and if so, move on to it.

        A message that its source keeps is taken in only as the next one; any other one as it comes.
        """
        if epoch != self.epoch:
            return self._judge_epoch(epoch, seq, kept=kept)
        if seq == self.seq + 1:
            self.seq = seq
            return Verdict.NEW
        if kept:
            return Verdict.DUPLICATE if seq <= self.seq else Verdict.EARLY
        if not -REACH < seq - self.seq <= REACH:
            self.seq = seq
            return Verdict.JUMPED
        if seq <= self.seq:
            return Verdict.DUPLICATE
        self.seq = seq
        return Verdict.NEW

    def begin(self, epoch: str, *, seq: int) -> None:
        """Go on with another epoch, of which everything up to `seq` counts as taken in."""
        if self.epoch and self.epoch != epoch:
            self.older.pop(self.epoch, None)
            self.older[self.epoch] = self.seq
            for name in list(self.older)[:-EPOCHS_REMEMBERED]:
                del self.older[name]
        self.epoch, self.seq = epoch, seq
        self.touch()

    def touch(self) -> None:
        """Have the journal keep the mark whole, not only what frames tell of it."""
        self.moved.add(self.asset)

    def stored(self, epoch: str) -> int:
        """Return up to which seq an epoch was taken in; 0 = nothing is known of it."""
        return self.seq if epoch == self.epoch else self.older.get(epoch, 0)

    def _judge_epoch(self, epoch: str, seq: int, *, kept: bool) -> Verdict:
        before = self.older.get(epoch)
        if before is not None and seq <= before:
            return Verdict.DUPLICATE
        if kept and seq != (before or 0) + 1:
            return Verdict.EARLY
        self.begin(epoch, seq=seq)
        return Verdict.NEW


@dataclass(slots=True)
class Sources:
    """The marks of all sources, by asset index."""

    marks: dict[int, SourceMark] = field(default_factory=dict)
    moved: set[int] = field(default_factory=set)

    def mark(self, asset: int) -> SourceMark:
        """Return the mark of a source, a new one where it has not been heard of."""
        found = self.marks.get(asset)
        if found is None:
            found = self.marks[asset] = SourceMark(asset=asset, moved=self.moved)
        return found

    def put(self, asset: int, epoch: str, seq: int, older: Mapping[str, int]) -> None:
        """Set the mark of a source as it was stored."""
        self.marks[asset] = SourceMark(epoch, seq, dict(older), asset, self.moved)

    def confirm(self, asset: int, epoch: str, *, first: int, name: str) -> tuple[int, Lost | None]:
        """Answer a source that holds nothing below `first`.

        Returns up to where everything is taken in, and what will never come, where that is news.
        """
        mark = self.mark(asset)
        known = mark.stored(epoch)
        if known + 1 >= first:
            return known, None
        mark.begin(epoch, seq=first - 1)
        return first - 1, Lost(name, epoch, known + 1, first - 1, marked=known > 0)

    def take_moved(self) -> Iterable[int]:
        """Return the assets whose marks changed otherwise than by counting on."""
        moved = sorted(self.moved)
        self.moved.clear()
        return moved
