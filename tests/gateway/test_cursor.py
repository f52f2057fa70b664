"""How far a lane has gone up, under any loss, repetition and delay of messages and answers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.durable.cursor import Answer, Cursor


def test_an_answer_moves_on_and_an_older_one_does_nothing() -> None:
    cursor = Cursor("e-bulk", confirmed=0, sent=10, last=12)
    assert cursor.take_answer(7, asked=0) is Answer.PROGRESS
    assert (cursor.confirmed, cursor.sent, cursor.answered) == (7, 10, False)
    assert cursor.take_answer(5, asked=0) is Answer.NOTHING
    assert cursor.take_answer(10, asked=10) is Answer.PROGRESS
    assert cursor.answered
    assert cursor.unconfirmed
    assert cursor.unsent


def test_what_was_asked_for_and_is_not_stored_is_sent_again_once() -> None:
    cursor = Cursor("e-bulk", confirmed=0, sent=10, last=12)
    assert cursor.take_answer(4, asked=10) is Answer.LOST
    assert cursor.sent == 4
    cursor.sent = 6
    assert cursor.take_answer(4, asked=10) is Answer.NOTHING  # the same answer, repeated
    assert cursor.sent == 6


def test_numbers_given_since_the_start_do_not_hide_a_storage_set_back() -> None:
    cursor = Cursor("e-bulk", confirmed=40, sent=40, last=45)
    cursor.last = 60
    assert cursor.take_answer(50, asked=40) is Answer.SET_BACK
    cursor = Cursor("e-bulk", confirmed=40, sent=40, last=45)
    assert cursor.take_answer(45, asked=40) is Answer.PROGRESS
    cursor.last = 60
    assert cursor.take_answer(50, asked=0) is Answer.PROGRESS


def test_a_cloud_that_has_more_tells_of_a_storage_set_back() -> None:
    assert Cursor("e-bulk", 0, 3, 3).take_answer(4, asked=3) is Answer.SET_BACK
    former = Cursor("old-bulk", 0, 3, 3, is_present=False)
    assert former.take_answer(9, asked=3) is Answer.PROGRESS
    assert not former.unconfirmed


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_everything_arrives_in_the_end(data: st.DataObject) -> None:
    cursor = Cursor("e-bulk", last=data.draw(st.integers(1, 30)))
    stored: set[int] = set()
    answers: list[tuple[int, int]] = []
    for _ in range(data.draw(st.integers(0, 80))):
        match data.draw(st.sampled_from(["send", "lose", "ask", "answer", "repeat", "grow"])):
            case "send" | "lose" as way if cursor.unsent:
                cursor.sent += 1
                if way == "send":
                    stored.add(cursor.sent)
            case "ask":
                answers.append((prefix(stored), cursor.sent))
            case "answer" if answers:
                take(cursor, answers.pop(data.draw(st.integers(0, len(answers) - 1))))
            case "repeat" if answers:
                take(cursor, answers[data.draw(st.integers(0, len(answers) - 1))])
            case "grow":
                cursor.last += 1
            case _:
                pass
        assert cursor.confirmed <= prefix(stored)
        assert cursor.confirmed <= cursor.sent <= cursor.last
    for _ in range(2 * cursor.last + 2):
        while cursor.unsent:
            cursor.sent += 1
            stored.add(cursor.sent)
        take(cursor, (prefix(stored), cursor.sent))
    assert stored == set(range(1, cursor.last + 1))
    assert not cursor.unconfirmed


def take(cursor: Cursor, answer: tuple[int, int]) -> None:
    assert cursor.take_answer(answer[0], asked=answer[1]) is not Answer.SET_BACK


def prefix(stored: set[int]) -> int:
    seq = 0
    while seq + 1 in stored:
        seq += 1
    return seq
