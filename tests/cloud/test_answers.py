from __future__ import annotations

from cloud.answers import Answers
from wire.messages import StoredMessage


def stored(seq: int, *, asked: int = 0, epoch: str = "e1") -> StoredMessage:
    return StoredMessage(gateway="g1", epoch=epoch, seq=seq, asked=asked)


async def test_a_newer_watermark_does_not_make_a_question_forgotten() -> None:
    answers = Answers()
    answers.add([stored(3, asked=7), stored(1, epoch="e2")])
    answers.add([stored(5)])
    assert await answers.take() == [stored(5, asked=7), stored(1, epoch="e2")]
    answers.add([stored(6)])
    assert await answers.take() == [stored(6)]


async def test_the_newest_question_is_the_one_that_is_answered() -> None:
    answers = Answers()
    answers.add([stored(3, asked=7)])
    answers.add([stored(3, asked=9), stored(4)])
    assert await answers.take() == [stored(4, asked=9)]
