"""When a broker can be seen to wait for our acknowledgements."""

from __future__ import annotations

__all__ = ["StallEstimate"]

FIRST_TRUST = 16
MAX_TRUST = 1024


class StallEstimate:
    """Guesses a broker's own limit of unacknowledged packets, which no packet announces.

    A silence at the highest number ever owed suggests that the broker waits for us. The guess is
    dropped as soon as more arrives, and left unused once in a while (rarer each time it held) so
    that slow traffic, which looks the same for a moment, cannot keep a wrong guess alive.
    """

    def __init__(self, receive_max: int) -> None:
        self._receive_max = receive_max
        self.reset()

    def reset(self) -> None:
        """Start over: a new connection may be to another broker."""
        self._peak = 0
        self._limit: int | None = None
        self._trust = FIRST_TRUST
        self._uses_left = 0

    @property
    def suspected(self) -> bool:
        """Tell whether there is a guess at present."""
        return self._limit is not None and self._uses_left > 0

    def room(self, owed: int) -> int:
        """Return how many more packets may come before the broker waits, as far as is known."""
        guessed = self._limit if self.suspected else None
        return max((self._receive_max if guessed is None else guessed) - owed, 0)

    def observe(self, owed: int) -> None:
        """Note how many packets are unacknowledged now."""
        if owed <= self._peak:
            return
        self._peak = owed
        if self._limit is not None:
            self._limit = None
            self._trust = FIRST_TRUST

    def note_silence(self, owed: int) -> None:
        """Note that nothing came for a good while with `owed` packets unacknowledged."""
        if owed == 0 or owed < self._peak:
            return
        if self._limit is not None:
            self._trust = min(2 * self._trust, MAX_TRUST)
        self._limit = owed
        self._uses_left = self._trust

    def stalled(self, owed: int) -> bool:
        """Tell whether waiting longer is useless until something is acknowledged."""
        if owed >= self._receive_max:
            return True
        return self.suspected and self._limit is not None and owed >= self._limit

    def note_wake(self, owed: int) -> None:
        """Note that a wait ended before its time with `owed` packets unacknowledged."""
        if self.suspected and self._limit is not None and owed >= self._limit:
            self._uses_left -= 1
