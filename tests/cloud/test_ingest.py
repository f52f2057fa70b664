from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from cloud.database import open_database
from cloud.ingest import read_message
from cloud.place import LedgerKey, Place
from cloud.records import (
    AlertRecord,
    ConfirmRecord,
    ExcerptRecord,
    GapRecord,
    Rejection,
    StatusRecord,
    SummaryRecord,
)
from cloud.store import Store
from tests.cloud.coupled import alert_payload, coupled_rows, excerpt, summary
from wire.blocks import encode_excerpt, encode_summaries
from wire.codec import encode_json
from wire.messages import ConfirmRequest, GapMessage, GatewayStatus
from wire.topics import GatewayKind, Topics

TOPICS = Topics()
EXCERPT = encode_excerpt(excerpt(1, coupled_rows(0, 20)))
SUMMARIES = encode_summaries(summary(1))
STATUS = encode_json(GatewayStatus(gateway="g1", presence="online"))
GAP = GapMessage(
    gateway="g1", epoch="u", seq=1, reason="cap", lost_epoch="b", first=3, last=4, readings=(5, 6)
)
REQUEST = ConfirmRequest(sender="g1", epoch="b", first=3, last=9)
GOOD = {
    TOPICS.gateway("g1", "summaries"): SUMMARIES,
    TOPICS.gateway("g1", "excerpts"): EXCERPT,
    TOPICS.gateway("g1", "alerts", "pump-0"): alert_payload("a1", "opened", last_ms=5.0),
    TOPICS.gateway("g1", "gaps"): encode_json(GAP),
    TOPICS.gateway("g1", "status"): STATUS,
    TOPICS.gateway("g1", "confirm"): encode_json(REQUEST),
}
anything = st.binary(max_size=300) | st.text(max_size=100).map(str.encode)


def test_each_topic_has_its_record() -> None:
    kinds = [type(read_message(TOPICS, topic=t, payload=p)) for t, p in GOOD.items()]
    assert kinds == [
        SummaryRecord,
        ExcerptRecord,
        AlertRecord,
        GapRecord,
        StatusRecord,
        ConfirmRecord,
    ]


@given(topic=st.sampled_from(sorted(GOOD)), payload=anything)
def test_garbage_on_every_topic_is_rejected_and_counted(topic: str, payload: bytes) -> None:
    record = read_message(TOPICS, topic=topic, payload=payload)
    assert isinstance(record, Rejection)
    result = Store(open_database("sqlite://")).write([record], received_us=1)
    assert result.counts == {"rejected": 1}


@given(
    topic=st.sampled_from(sorted(GOOD)),
    position=st.integers(0, 10_000),
    value=st.integers(0, 255),
    length=st.integers(0, 10_000),
)
def test_damaged_messages_never_raise_and_what_passes_can_be_stored(
    topic: str, position: int, value: int, length: int
) -> None:
    payload = bytearray(GOOD[topic])
    payload[position % len(payload)] = value
    cut = bytes(payload[: max(length % (2 * len(payload)), 1)])
    record = read_message(TOPICS, topic=topic, payload=cut)
    Store(open_database("sqlite://")).write([record], received_us=1)


@given(topic=st.text(max_size=200))
def test_foreign_topics_are_rejected(topic: str) -> None:
    record = read_message(TOPICS, topic=topic, payload=STATUS)
    assert isinstance(record, Rejection)
    assert record.reason == "topic"


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (TOPICS.gateway("g2", "summaries"), SUMMARIES, "wrong_gateway"),
        (TOPICS.gateway("g2", "excerpts"), EXCERPT, "wrong_gateway"),
        (TOPICS.gateway("g2", "status"), STATUS, "wrong_gateway"),
        (TOPICS.gateway("g1", "alerts", "other"), alert_payload("a", "opened"), "wrong_asset"),
        (TOPICS.gateway("g2", "gaps"), encode_json(GAP), "wrong_gateway"),
        (TOPICS.gateway("g2", "confirm"), encode_json(REQUEST), "wrong_gateway"),
        (TOPICS.gateway("g1", "cmd", "stored"), b"{}", "topic"),
    ],
)
def test_a_message_must_be_what_its_topic_says(topic: str, payload: bytes, reason: str) -> None:
    record = read_message(TOPICS, topic=topic, payload=payload)
    assert isinstance(record, Rejection)
    assert record.reason == reason
    assert "expected" in record.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"first": 5},
        {"last": 2 * 10**12},
        {"readings": (1,)},
        {"readings": (2**62, 2**62)},
    ],
)
def test_a_report_that_cannot_be_counted_is_rejected_and_takes_its_place(
    changes: dict[str, Any],
) -> None:
    payload = encode_json(replace(GAP, **changes))
    record = read_message(TOPICS, topic=TOPICS.gateway("g1", "gaps"), payload=payload)
    assert isinstance(record, Rejection)
    assert (record.reason, record.place) == ("bad_range", Place(LedgerKey("g1", "u"), 1))


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        ("gaps", replace(GAP, source="a\0b"), "bad_text"),
        ("confirm", replace(REQUEST, epoch="\0"), "bad_text"),
        ("confirm", replace(REQUEST, first=2**62), "bad_range"),
    ],
)
def test_what_a_database_would_choke_on_is_rejected(
    kind: GatewayKind, message: Struct, reason: str
) -> None:
    topic = TOPICS.gateway("g1", kind)
    record = read_message(TOPICS, topic=topic, payload=encode_json(message))
    assert isinstance(record, Rejection)
    assert record.reason == reason
    assert "\0" not in record.detail
