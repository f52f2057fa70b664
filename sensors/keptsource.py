"""What is known of one source whose readings are kept."""

from __future__ import annotations

import secrets
from zlib import crc32

import msgspec

__all__ = ["KeptSource", "body_crc", "new_epoch", "new_source"]


class KeptSource(msgspec.Struct, frozen=True, kw_only=True):
    """One source's numbering and how far it got; every change of it is on the disk."""

    number: int
    """Key of its rows in the file."""
    name: str
    """Source as in topics."""
    epoch: str
    """Names the numbering; a new one when the numbers start again from 1."""
    last: int = 0
    """Highest seq given to a row; 0 = none yet."""
    confirmed: int = 0
    """Highest seq up to which the gateway confirmed everything."""
    known: int = 0
    """Highest seq that an earlier process of ours may have sent."""
    gateway: str | None = None
    """The gateway that is listened to; None until the first answer."""
    answered: bool = False
    """Whether a gateway has answered the process that has the file, so that it may send."""
    taken: int = 0
    """Count of rows taken from the recording that is under way."""
    taken_crc: int = 0
    """CRC-32 of their bodies, one after the other."""
    ended: bool = False
    """Whether that recording was taken, confirmed and reported as done."""
    dropped: int = 0
    """Count of rows given up, as the file was full, since it was made."""
    damaged: int = 0
    """Count of rows found damaged since the file was made."""

    def opened(self) -> KeptSource:
        """Return what holds at the start of a process: an earlier one may have sent all rows."""
        known = self.last if self.answered else self.known
        return msgspec.structs.replace(self, known=known, answered=False)

    def renumbered(self, base: int) -> KeptSource:
        """Return it under a new epoch, in which seq `base` + 1 is 1 and nothing was ever sent."""
        return msgspec.structs.replace(
            self, epoch=new_epoch(), last=self.last - base, confirmed=0, known=0, answered=False
        )

    def restarted(self) -> KeptSource:
        """Return it under a new epoch for a recording from its first row."""
        fresh = self.renumbered(self.last)
        return msgspec.structs.replace(fresh, taken=0, taken_crc=0, ended=False)


def new_source(name: str, *, number: int) -> KeptSource:
    """Return a source under an epoch of its own."""
    return KeptSource(number=number, name=name, epoch=new_epoch())


def new_epoch() -> str:
    """Return a name for a numbering that starts now."""
    return secrets.token_hex(4)


def body_crc(body: bytes, *, source: int, seq: int) -> int:
    """Return the CRC-32 that guards a row with its place."""
    return crc32(body, crc32(b"%d %d " % (source, seq)))
