from __future__ import annotations

import random

import pytest

from wire.backoff import Backoff
from wire.connection_state import Cause, Ending
from wire.stall import StallEstimate
from wire.takeover import TakeoverWatch

HUNG_UP = Ending(Cause.HUNG_UP, "closed without DISCONNECT")


def delays(cause: Cause, count: int, *, lasted_s: float = 0.0) -> list[float]:
    backoff = Backoff(random.Random(7))
    return [backoff.next_delay_s(cause, lasted_s=lasted_s) for _ in range(count)]


def test_delays_are_spread_below_a_doubling_ceiling_of_30_s() -> None:
    drawn = delays(Cause.UNREACHABLE, 40)
    for index, delay_s in enumerate(drawn):
        assert 0 <= delay_s <= min(30.0, 0.1 * 2**index)
    assert max(drawn) > 20
    assert min(drawn[10:]) < 10


def test_a_settled_connection_starts_the_count_anew() -> None:
    assert max(delays(Cause.HUNG_UP, 40, lasted_s=6.0)) <= 0.1


@pytest.mark.parametrize("cause", [Cause.TAKEN_OVER, Cause.REFUSED])
def test_refusals_and_takeovers_wait_longer_and_longer(cause: Cause) -> None:
    drawn = delays(cause, 10, lasted_s=6.0)
    assert 15 <= drawn[0] <= 30
    assert min(drawn[6:]) >= 300
    assert max(drawn) <= 600


def test_six_brief_connections_hung_up_on_are_a_takeover() -> None:
    watch = TakeoverWatch()
    judged = [watch.judge(HUNG_UP, lasted_s=0.1).cause for _ in range(7)]
    assert judged == [Cause.HUNG_UP] * 5 + [Cause.TAKEN_OVER] * 2
    assert watch.judge(HUNG_UP, lasted_s=60.0).cause is Cause.TAKEN_OVER
    assert watch.judge(HUNG_UP, lasted_s=601.0).cause is Cause.HUNG_UP


def test_a_broker_that_restarts_again_and_again_is_no_takeover() -> None:
    watch = TakeoverWatch()
    unreachable = Ending(Cause.UNREACHABLE, "refused")
    for _ in range(20):
        assert watch.judge(HUNG_UP, lasted_s=0.1).cause is Cause.HUNG_UP
        watch.judge(unreachable, lasted_s=0.0)


def test_a_silence_at_the_peak_is_a_guess_until_more_arrives() -> None:
    stall = StallEstimate(1000)
    stall.observe(20)
    assert not stall.stalled(20)
    stall.note_silence(20)
    assert stall.stalled(20)
    assert not stall.stalled(19)
    stall.observe(21)
    assert not stall.stalled(21)
    stall.note_silence(20)
    assert not stall.stalled(20)


def test_a_wrong_guess_is_put_to_the_test() -> None:
    stall = StallEstimate(1000)
    stall.observe(1)
    stall.note_silence(1)
    uses = 0
    while stall.stalled(1):
        stall.note_wake(1)
        uses += 1
    assert uses == 16
    stall.observe(5)
    stall.note_silence(1)
    assert not stall.stalled(1)


def test_a_right_guess_is_trusted_longer_each_time_it_held() -> None:
    stall = StallEstimate(1000)
    stall.observe(20)
    trusted = []
    for _ in range(9):
        stall.note_silence(20)
        uses = 0
        while stall.stalled(20):
            stall.note_wake(20)
            uses += 1
        trusted.append(uses)
    assert trusted == [16, 32, 64, 128, 256, 512, 1024, 1024, 1024]


def test_our_own_limit_is_always_a_stall() -> None:
    stall = StallEstimate(10)
    assert stall.stalled(10)
    assert not stall.stalled(9)
