"""How far a lane of the outbox has gone up: sent, and confirmed by the cloud. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

__all__ = ["Answer", "Cursor"]


class Answer(enum.Enum):
    """What an answer of the cloud means."""

    PROGRESS = "progress"
    """More is stored than was known."""
    LOST = "lost"
    """What was sent behind the confirmed number must be sent again; `sent` was taken back."""
    NOTHING = "nothing"
    SET_BACK = "set back"
    """The cloud has more than we ever sent: our storage has been set back."""


@dataclass(slots=True)
class Cursor:
    """Numbers of one lane: confirmed <= sent <= last."""

    epoch: str
    confirmed: int = 0
    sent: int = 0
    """Newest number handed to the session since it last had to begin again."""
    last: int = 0
    """Newest number on the disk."""
    promised: int = 0
    """Nothing beyond this number has ever been sent: until then it may still be changed."""
    started: int = field(init=False)
    """`last` when this process began."""
    is_present: bool = True
    """Whether it belongs to the present epoch, so that `last` is the newest number ever given."""
    answered: bool = False
    """Whether the cloud has answered since this process began."""

    def __post_init__(self) -> None:
        self.started = self.last

    @property
    def is_urgent(self) -> bool:
        """Whether it is a lane of alerts and gap records."""
        return self.epoch.endswith("urgent")

    @property
    def unconfirmed(self) -> bool:
        """Whether anything waits for the cloud's word."""
        return self.confirmed < self.last

    @property
    def unsent(self) -> bool:
        """Whether anything waits to be sent."""
        return self.sent < self.last

    def take_answer(self, seq: int, *, asked: int) -> Answer:
        """Take in that everything up to `seq` is stored.

        `asked` is what had been sent before the request that this answers, 0 = it answers none.
        """
        # Numbers given since the start may have been given before, if the storage was set back.
        most = self.last if self.answered else max(self.sent, self.started)
        if seq > most and self.is_present:
            return Answer.SET_BACK
        self.answered = self.answered or asked > 0 or self.sent == 0
        seq = min(seq, self.last)  # of a former epoch, gap records account for what is beyond
        progress = seq > self.confirmed
        self.confirmed = max(self.confirmed, seq)
        self.sent = max(self.sent, self.confirmed)
        if self.confirmed < asked <= self.sent:
            self.sent = self.confirmed
            return Answer.LOST
        return Answer.PROGRESS if progress else Answer.NOTHING
