"""A gateway with two lanes against the store: any order, repeats, lost transactions."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from cloud.batch import Batch
from cloud.database import writing
from cloud.records import AlertRecord, ConfirmRecord, GapRecord, Record, SummaryRecord
from cloud.store import Store
from cloud.tables import alert_events
from tests.cloud.conftest import empty
from tests.cloud.coupled import alert_payload, summary
from wire.codec import decode_json
from wire.messages import AlertEvent, ConfirmRequest, GapMessage, StoredMessage

LANES = ("bulk", "urgent")
MESSAGES = 10
A_ROW = 60


class Killed(Exception):  # noqa: N818 - what happens to the process
    """The process ends before the commit."""


@dataclass(frozen=True)
class Send:
    """Messages (lane, seq) that arrive in one batch; `dies` = before the commit."""

    messages: list[tuple[str, int]]
    dies: bool


@dataclass(frozen=True)
class Ask:
    lane: str
    first: int


Step = Send | Ask
message = st.tuples(st.sampled_from(LANES), st.integers(1, MESSAGES))
steps = st.lists(
    st.builds(Send, st.lists(message, max_size=8), st.booleans())
    | st.builds(Ask, st.sampled_from(LANES), st.integers(1, 4)),
    max_size=10,
)
ranges = st.lists(
    st.tuples(st.integers(1, MESSAGES), st.integers(0, 4)), min_size=MESSAGES, max_size=MESSAGES
)


def readings_of(seq: int) -> int:
    return A_ROW * (1 + seq % 3)


@dataclass
class Gateway:
    """What it has sent, and what should have become of that."""

    ranges: Sequence[tuple[int, int]]
    fate: dict[tuple[str, int], Literal["stored", "told", "untold"]] = field(default_factory=dict)
    source_readings: int = 0

    def record(self, lane: str, seq: int) -> Record:
        """Bulk: summaries. Urgent: reports of both kinds, and alerts."""
        if lane == "bulk":
            return SummaryRecord(summary(seq, epoch="bulk", rows=readings_of(seq) // A_ROW))
        if seq % 3:
            payload = alert_payload(f"a{seq}", "opened", epoch="urgent", seq=seq)
            return AlertRecord(decode_json(payload, AlertEvent), payload)
        return GapRecord(self.report(seq))

    def report(self, seq: int) -> GapMessage:
        first, more = self.ranges[seq - 1]
        is_source = seq % 2 == 0
        return GapMessage(
            gateway="g1",
            epoch="urgent",
            seq=seq,
            reason="source" if is_source else "cap",
            source="pump" if is_source else "",
            lost_epoch="s1" if is_source else "bulk",
            first=first,
            last=first + more,
            readings=() if is_source else tuple(map(readings_of, range(first, first + more + 1))),
        )

    def note(self, lane: str, seq: int) -> None:
        """Note that a message was committed."""
        if (lane, seq) in self.fate:
            return
        self.fate[lane, seq] = "stored"
        if lane == "urgent" and seq % 3 == 0:
            report = self.report(seq)
            if report.source:
                self.source_readings += report.last - report.first + 1
                return
            for lost in range(report.first, report.last + 1):
                if self.fate.get(("bulk", lost), "untold") == "untold":
                    self.fate["bulk", lost] = "told"

    def note_question(self, ask: Ask) -> None:
        for seq in range(1, ask.first):
            self.fate.setdefault((ask.lane, seq), "untold")

    def watermark(self, lane: str) -> int:
        return next(seq for seq in range(3 * MESSAGES) if (lane, seq + 1) not in self.fate)

    def bulk(self, fate: str) -> list[int]:
        return [
            seq for (lane, seq), is_now in self.fate.items() if (lane, is_now) == ("bulk", fate)
        ]


def kill_before_commit(engine: Engine, records: list[Record]) -> None:
    with contextlib.suppress(Killed), writing(engine) as connection:
        Batch(connection, records, received_us=1).write()
        raise Killed


def perform(step: Step, gateway: Gateway, store: Store) -> None:
    if isinstance(step, Ask):
        request = ConfirmRequest(sender="g1", epoch=step.lane, first=step.first, last=MESSAGES)
        result = store.write([ConfirmRecord(request)], received_us=1)
        gateway.note_question(step)
        expected = {"seq": gateway.watermark(step.lane), "asked": MESSAGES}
        assert result.answers == [StoredMessage(gateway="g1", epoch=step.lane, **expected)]
        return
    records = [gateway.record(*sent) for sent in step.messages]
    if step.dies:
        kill_before_commit(store._engine, records)
        return
    result = store.write(records, received_us=1)
    for sent in step.messages:
        gateway.note(*sent)
    for answer in result.answers:
        assert (answer.seq, answer.asked) == (gateway.watermark(answer.epoch), 0)


def check(gateway: Gateway, store: Store) -> None:
    (account,) = store.accounts()
    bulk = account.ledgers[0]
    assert bulk.stored == len(gateway.bulk("stored"))
    assert bulk.lost == len(gateway.bulk("told")) + len(gateway.bulk("untold"))
    assert account.readings_in_summaries == sum(map(readings_of, gateway.bulk("stored")))
    told = sum(map(readings_of, gateway.bulk("told")))
    assert account.readings_in_gaps == told + gateway.source_readings
    with store._engine.connect() as connection:
        kept = sorted(connection.scalars(select(alert_events.c.seq)))
    assert kept == [
        seq for seq in range(1, MESSAGES + 1) if seq % 3 and gateway.fate["urgent", seq] == "stored"
    ]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps, ranges=ranges)
def test_each_message_counts_once_whatever_happens(
    engine: Engine, steps: list[Step], ranges: list[tuple[int, int]]
) -> None:
    empty(engine)
    gateway, store = Gateway(ranges), Store(engine)
    everything = [(lane, seq) for lane in LANES for seq in range(1, MESSAGES + 1)]
    for step in [*steps, Send(everything, dies=False), Send(everything, dies=False)]:
        perform(step, gateway, store)
    check(gateway, store)


def test_two_clouds_on_one_database_count_each_message_once(engine: Engine) -> None:
    batches = [[SummaryRecord(summary(seq)) for seq in range(n, n + 20)] for n in range(1, 101, 10)]

    def write(order: random.Random) -> int:
        store = Store(engine)
        shuffled = order.sample(batches, len(batches))
        return sum(store.write(batch, received_us=1).counts["summaries"] for batch in shuffled)

    with ThreadPoolExecutor(2) as threads:
        written = threads.map(write, [random.Random(1), random.Random(2)])
    assert sum(written) == 110
    (account,) = Store(engine).accounts()
    assert (account.ledgers[0].stored_seq, account.readings_in_summaries) == (110, 110 * 120)
