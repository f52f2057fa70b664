"""Identities of sources: each message counts once, in order, whatever the broker repeats."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decode.deliveries import Deliveries
from gateway.decode.sources import EPOCHS_REMEMBERED, SourceMark, Sources, Verdict
from tests.gateway.test_replay import Message


def verdicts(mark: SourceMark, *messages: tuple[str, int], kept: bool = True) -> list[str]:
    return [mark.judge(epoch, seq, kept=kept).value for epoch, seq in messages]


def test_a_kept_message_is_taken_in_only_as_the_next_one() -> None:
    mark = SourceMark()
    sent = [("a", 2), ("a", 1), ("a", 3), ("a", 2), ("a", 2), ("a", 3)]
    assert verdicts(mark, *sent) == ["early", "new", "early", "new", "duplicate", "new"]


def test_what_a_broker_stored_of_an_older_epoch_is_known_again() -> None:
    mark = SourceMark()
    assert verdicts(mark, ("a", 1), ("a", 2), ("b", 1)) == ["new", "new", "new"]
    assert verdicts(mark, ("a", 1), ("a", 2), ("b", 1)) == ["duplicate"] * 3
    assert verdicts(mark, ("a", 3), ("b", 2)) == ["new", "new"]


def test_only_so_many_epochs_are_remembered() -> None:
    mark = SourceMark()
    names = [f"e{index}" for index in range(EPOCHS_REMEMBERED + 5)]
    assert verdicts(mark, *[(name, 1) for name in names]) == ["new"] * len(names)
    assert len(mark.older) == EPOCHS_REMEMBERED
    assert verdicts(mark, (names[-2], 1)) == ["duplicate"]


def test_a_source_that_asks_learns_what_is_there_and_tells_what_is_gone() -> None:
    sources = Sources()
    assert sources.confirm(0, "a", first=1, name="s") == (0, None)
    assert verdicts(sources.mark(0), ("a", 1), ("a", 2)) == ["new", "new"]
    assert sources.confirm(0, "a", first=2, name="s") == (2, None)
    seq, lost = sources.confirm(0, "a", first=6, name="s")
    assert lost is not None
    assert (seq, lost.first, lost.last) == (5, 3, 5)
    assert verdicts(sources.mark(0), ("a", 6)) == ["new"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=60))
def test_each_kept_message_is_new_at_most_once_and_in_order(sent: list[tuple[int, bool]]) -> None:
    sources, taken = Sources(), []
    for seq, restart in sent:
        if restart:
            known = sources.mark(0)
            sources.marks[0] = SourceMark(known.epoch, known.seq, dict(known.older))
        if sources.mark(0).judge("a", seq, kept=True) is Verdict.NEW:
            taken.append(seq)
    assert taken == list(range(1, len(taken) + 1))


def test_a_repeated_packet_is_taken_in_once_and_a_reused_id_is_a_new_message() -> None:
    deliveries = Deliveries()
    first = Message("t", b"1", 7)
    assert deliveries.sift([first]) == [first]
    assert deliveries.take_news() != ()
    assert deliveries.sift([first._replace(duplicate=True)]) == []
    assert deliveries.repeated == 1
    other = Message("t", b"2", 7, duplicate=True)
    assert deliveries.sift([other]) == [other]
    unguarded = Message("t", b"1", None)
    assert deliveries.sift([unguarded, unguarded]) == [unguarded] * 2
    deliveries.forget()
    assert deliveries.sift([other]) == [other]
