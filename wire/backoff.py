"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random

from wire.connection_state import Cause

__all__ = ["Backoff"]

BASE_S = 0.1
CAP_S = 30.0
SLOW_BASE_S = 30.0
SLOW_CAP_S = 600.0
SETTLED_S = 5.0
SLOW_CAUSES = frozenset({Cause.TAKEN_OVER, Cause.REFUSED})


class Backoff:
    """Exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015).

    Refusals and takeovers wait 15 to 30 s at first and up to 600 s later: a wrong password does
    not mend in seconds, and two clients of one id would otherwise throw each other out for ever.
    """

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._failures = 0
        self._slow_failures = 0

    def next_delay_s(self, cause: Cause, *, lasted_s: float) -> float:
        """Return the wait after an ending; a connection that lasted 5 s starts the count anew."""
        if lasted_s >= SETTLED_S:
            self._failures = 0
        if cause in SLOW_CAUSES:
            return self._slow_delay_s()
        if lasted_s >= SLOW_CAP_S:
            self._slow_failures = 0
        ceiling_s = min(CAP_S, BASE_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return self._random.uniform(0.0, ceiling_s)

    def _slow_delay_s(self) -> float:
        ceiling_s = min(SLOW_CAP_S, SLOW_BASE_S * 2.0 ** min(self._slow_failures, 16))
        self._slow_failures += 1
        return self._random.uniform(ceiling_s / 2, ceiling_s)
