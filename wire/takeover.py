"""Whether another client uses our client id, at brokers that do not say so."""

from __future__ import annotations

from wire.connection_state import Cause, Ending

__all__ = ["TakeoverWatch"]

SUSPICIOUS_COUNT = 6
BRIEF_S = 5.0
CLEARED_S = 600.0


class TakeoverWatch:
    """Recognises takeovers that come without DISCONNECT 142, as those of mosquitto 2.0 do.

    Two clients of one id throw each other out as fast as they can connect: six connections in a
    row that were hung up on in order, within 5 s and with no failed attempt between, are taken as
    that. While suspected, so is every hang-up until a connection lasted 10 minutes.
    """

    def __init__(self) -> None:
        self._brief_count = 0

    def judge(self, ending: Ending, *, lasted_s: float) -> Ending:
        """Return the ending of a connection or attempt, as a takeover where it looks like one."""
        suspected = self._brief_count >= SUSPICIOUS_COUNT
        tolerance_s = CLEARED_S if suspected else BRIEF_S
        if ending.cause is not Cause.HUNG_UP or lasted_s >= tolerance_s:
            self._brief_count = 0
            return ending
        self._brief_count += 1
        if self._brief_count < SUSPICIOUS_COUNT:
            return ending
        return Ending(
            Cause.TAKEN_OVER,
            "the broker keeps hanging up; give each client its own client id",
            ending.reason_code,
        )
