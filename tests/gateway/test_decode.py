"""Decoders: whatever comes, it is decoded or counted with a reason, and the next one is served."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.batch import Batch
from gateway.config import Config, parse_config
from gateway.decode.decoder import Decoder
from gateway.decode.rules import (
    FieldRule,
    SourceRule,
    TimeRule,
    filters_to_subscribe,
    template_pattern,
    topic_matches,
)
from gateway.directory import MOST_CHANNELS, Directory
from gateway.edge import Edge
from gateway.ledger import Ledger
from gateway.models.shelf import Shelf
from tests.gateway.graphs import bundled, load
from wire.topics import NAME

NOW_MS = 1.7e12
OWN = "vedette/v1/readings/pump-1"


class Message(NamedTuple):
    topic: str
    payload: bytes


def decoder(*rules: SourceRule) -> Decoder:
    chosen = rules or (SourceRule(match="vedette/v1/readings/+"),)
    control = ("vedette/v1/models/", "vedette/v1/gw/")
    return Decoder(chosen, Directory(), Ledger(), control=control)


def edge(text: str = "") -> Edge:
    config = parse_config(text, name="test") if text else Config()
    return Edge(config, Shelf(load(bundled())), epoch="e1")


def reading(seq: int, **changes: object) -> bytes:
    return json.dumps(
        {"id": ["e1", seq], "t": 1000 * seq, "values": {"a": 1.5, "b": None}} | changes
    ).encode()


def shown(directory: Directory, batch: Batch) -> list[tuple[str, float, dict[str, float]]]:
    """Frames as asset, milliseconds and values."""
    names = {
        stream: name
        for asset in range(directory.asset_count)
        for stream, name in zip(directory.streams_of[asset], directory.channels[asset], strict=True)
    }
    found, at = [], 0
    for asset, time_us, width in zip(batch.asset, batch.time_us, batch.width, strict=True):
        values = zip(batch.stream[at : at + width], batch.value[at : at + width], strict=True)
        row = {names[int(stream)]: float(value) for stream, value in values}
        found.append((directory.assets[asset], time_us / 1000, row))
        at += width
    return found


def decoded(
    rule: SourceRule, topic: str, payload: object
) -> tuple[list[tuple[str, float, dict[str, float]]], Ledger]:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    made = decoder(rule)
    batch = made.decode([Message(topic, raw)], arrival_ms=NOW_MS)
    return shown(made.directory, batch), made.ledger


def refusal(rule: SourceRule, topic: str, payload: object) -> str:
    frames, ledger = decoded(rule, topic, payload)
    assert frames == []
    assert ledger.quarantined == 1
    assert sum(ledger.rejected.values()) == 1
    return ledger.last_rejection


# Anything at all

JSON_RULES = (
    SourceRule(match="auto/#", format="json"),
    SourceRule(match="plant/#", format="json", topic="plant/{asset}/{channel}"),
    SourceRule(
        match="timed/#",
        format="json",
        time=TimeRule("a.t", "iso"),
        field=(FieldRule("a.v", scale=2.0), FieldRule("0.v", channel="first")),
    ),
    SourceRule(match="whole", format="json", field=(FieldRule(""),)),
    SourceRule(match="vedette/v1/readings/+"),
)
TOPICS = [OWN, "auto/x", "plant/a/b", "timed/x", "whole", "vedette/v1/readings/ö", "", "x" * 9000]
PAYLOADS = [
    b"",
    b"\x00",
    b"NaN",
    b'{"a":NaN}',
    b"[Infinity]",
    b"1e400",
    b"-1e400",
    b"1" * 400,
    b"1" * 6000,
    b"true",
    b"[" * 5000,
    b'{"a":' * 3000,
    b"[" * 900 + b"]" * 900,
    b'"\\ud800"',
    b"\xff\xfe",
    b" " * 1_000_000,
    b"[" + b"0," * 499_999 + b"0]",
    b"[" + b"0," * 99_999 + b"0]",
    json.dumps({f"c{index}": 1 for index in range(5000)}).encode(),
    json.dumps({"k" * 1000: 1}).encode(),
    json.dumps({"": 1, "a": {"": {"": 2}}}).encode(),
    json.dumps({"a.b": 1, "a": {"b": 2}}).encode(),
    reading(-1),
    reading(0),
    reading(2**63),
    reading(2**63 - 1),
    reading(1, t=-1),
    reading(1, t=1e15),
    reading(1, t=True),
    reading(1, t="1"),
    reading(1, t=None),
    reading(1, id=["e1"]),
    reading(1, id=["", 1]),
    reading(1, id=[1, "e1"]),
    reading(1, id="e1"),
    reading(1, values=[]),
    reading(1, values={}),
    reading(1, values={"a": True}),
    reading(1, values={"a": "1"}),
    reading(1, values={"": 1}),
    reading(1, values={"k" * 257: 1}),
    reading(1, values={"a": 1e308, "b": -1e30, "c": 1e18}),
    reading(1, values={f"c{index}": 1 for index in range(MOST_CHANNELS + 1)}),
    b"[]",
    b"[" + reading(3) + b"," + reading(4, t=-1) + b"]",
]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "t", "v", "id", "values", "", "a.v"]), inner)
    ),
    max_leaves=12,
)
payloads = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(PAYLOADS),
    json_values.map(lambda value: json.dumps(value).encode()),
)
messages = st.builds(Message, st.one_of(st.sampled_from(TOPICS), st.text(max_size=9)), payloads)


@settings(deadline=None, max_examples=150)
@given(st.lists(messages, max_size=12))
@example([Message(topic, payload) for topic in TOPICS for payload in PAYLOADS])
def test_whatever_comes_the_next_message_is_served_and_the_ledger_adds_up(
    before: list[Message],
) -> None:
    gateway = edge()
    gateway.decoder.rules = JSON_RULES
    gateway.take(before, arrival_ms=NOW_MS)
    ledger = gateway.ledger
    assert ledger.unaccounted == 0
    assert all(payload for payload in ledger.rejected)
    assert ledger.quarantined == sum(
        count for reason, count in ledger.rejected.items() if reason != "out_of_range"
    )
    assert ledger.quarantined <= len(before)
    if ledger.quarantined:
        assert "expected" in ledger.last_rejection or "backward" in ledger.last_rejection
    scored = ledger.scored
    gateway.take([Message("vedette/v1/readings/next", reading(1))], arrival_ms=NOW_MS)
    assert ledger.scored == scored + 1
    assert ledger.unaccounted == 0
    assert len(gateway.decoder.quarantine) <= 256
    assert list(gateway.flush())


@pytest.mark.parametrize("payload", PAYLOADS[:31], ids=lambda payload: repr(payload[:20]))
@pytest.mark.parametrize("topic", [OWN])
def test_a_refusal_says_what_was_expected_and_what_came(topic: str, payload: bytes) -> None:
    made = decoder()
    batch = made.decode([Message(topic, payload)], arrival_ms=NOW_MS)
    if made.ledger.quarantined:
        assert batch.asset.size == 0
        assert made.ledger.last_rejection.startswith(f"{OWN}: ")
        assert "expected" in made.ledger.last_rejection
        assert ", got " in made.ledger.last_rejection
        (kept,) = made.quarantine
        assert kept.payload == payload[:512]
    else:
        assert payload in {b"[]", reading(2**63 - 1)}


# Readings of our own sensors


def test_null_is_missing_and_what_is_left_out_is_not() -> None:
    frames, ledger = decoded(SourceRule(match="#"), OWN, reading(1, values={"a": 2, "b": None}))
    ((asset, time_ms, values),) = frames
    assert (asset, time_ms, values["a"]) == ("pump-1", 1000, 2.0)
    assert math.isnan(values["b"])
    assert ledger.received == 2


def test_identities_are_taken_once_and_gaps_are_counted() -> None:
    made = decoder()
    sent = [1, 2, 2, 3, 7, 5, 7, 8]
    batch = made.decode([Message(OWN, reading(seq)) for seq in sent], arrival_ms=NOW_MS)
    assert (batch.time_us // 1_000_000).tolist() == [1, 2, 3, 7, 8]
    assert made.ledger.duplicate == 3 * 2
    assert made.ledger.skipped == 3
    assert made.ledger.received == 8 * 2
    made.decode([Message(OWN, reading(1, id=["e2", 1]))], arrival_ms=NOW_MS)
    assert (made.ledger.duplicate, made.ledger.skipped) == (6, 3)


@pytest.mark.parametrize("huge", [10**6, 2**63 - 1])
def test_a_huge_sequence_number_is_told_and_does_not_end_the_stream(huge: int) -> None:
    gateway = edge()
    sent = [1, 2, huge, 3, 4, 4]
    gateway.take(
        [Message(OWN, reading(seq, t=1000 * at)) for at, seq in enumerate(sent)], arrival_ms=0
    )
    ledger = gateway.ledger
    assert ledger.scored == 5
    assert ledger.duplicate == 2
    assert ledger.skipped == 0
    assert "seq_jump" in ledger.last_rejection
    assert "expected about" in ledger.last_rejection
    assert ledger.unaccounted == 0


def test_too_many_channels_refuse_the_message_and_leave_nothing_behind() -> None:
    made = decoder()
    wide = reading(1, values={f"c{index}": 1 for index in range(MOST_CHANNELS)})
    more = reading(2, values={"c0": 1, "one-more": 1})
    batch = made.decode(
        [Message(OWN, part) for part in (wide, more, reading(3, values={"c0": 2}))], arrival_ms=0
    )
    assert batch.width.tolist() == [MOST_CHANNELS, 1]
    assert batch.stream.size == batch.value.size == MOST_CHANNELS + 1
    assert made.ledger.rejected == {"too_many_channels": 1}


@pytest.mark.parametrize("source", ["ö", "a b", "", "..", "x" * 65, "a+b"])
def test_a_source_that_is_no_name_is_refused(source: str) -> None:
    made = decoder()
    made.decode([Message(f"vedette/v1/readings/{source}", reading(1))], arrival_ms=0)
    assert made.ledger.rejected == {"bad_topic": 1}
    assert "expected 1 to 64" in made.ledger.last_rejection


def test_clock_jumps_are_flagged_counted_and_scored() -> None:
    gateway = edge()
    times = [1.7e12, 7.2e12, 1.7e12, 1.7e12, 0, 1.7e12 + 1]
    sent = [Message(OWN, reading(seq, t=t)) for seq, t in enumerate(times, 1)]
    gateway.take(sent, arrival_ms=NOW_MS)
    assert gateway.ledger.backward == 2
    assert gateway.ledger.scored == len(times)
    assert gateway.ledger.last_rejection == (
        "pump-1: backward: expected 1700000000000.000 ms or later, got 0.000 ms"
    )


def test_values_beyond_what_models_take_are_refused_and_told() -> None:
    gateway = edge()
    values = {"a": 1e308, "b": -2e18, "c": 1e18}
    gateway.take([Message(OWN, reading(1, values=values))], arrival_ms=NOW_MS)
    assert gateway.ledger.out_of_range == 2
    assert gateway.ledger.scored == 1
    assert gateway.ledger.rejected == {"out_of_range": 2}
    assert gateway.ledger.last_rejection.startswith("pump-1: out_of_range: expected a value within")


def test_a_channel_that_comes_back_goes_on() -> None:
    gateway = edge()
    rows = (
        [{"a": 1.0, "b": 1.0}] * 3 + [{"a": 1.0}] * 3 + [{"b": None}] * 3 + [{"a": 1, "b": 2}] * 3
    )
    sent = [Message(OWN, reading(seq, values=row)) for seq, row in enumerate(rows, 1)]
    gateway.take(sent, arrival_ms=NOW_MS)
    assert gateway.ledger.scored == 6 + 3 + 6
    assert gateway.ledger.missing == 3
    assert gateway.ledger.unaccounted == 0


def test_control_topics_go_to_the_inbox_before_any_rule() -> None:
    made = decoder(SourceRule(match="#", format="json"))
    topics = ["vedette/v1/models/meta/targets", "vedette/v1/gw/g1/cmd/stored", "other"]
    batch = made.decode([Message(topic, b"1") for topic in topics], arrival_ms=0)
    assert made.inbox == [(topic, b"1") for topic in topics[:2]]
    assert batch.asset.size == 1


# Generic JSON

AUTO = SourceRule(match="#", format="json")


@pytest.mark.parametrize(
    ("payload", "values"),
    [
        (5, {"value": 5.0}),
        (
            {"a": 1, "b": {"c": 2.5, "d": [3, {"e": 4}]}},
            {"a": 1, "b.c": 2.5, "b.d.0": 3, "b.d.1.e": 4},
        ),
        ({"on": True, "off": False}, {"on": 1.0, "off": 0.0}),
        ({"a": 1, "name": "pump", "none": None}, {"a": 1.0}),
        ([1, 2], {"0": 1.0, "1": 2.0}),
        ({"": 7}, {"value": 7.0}),
    ],
)
def test_every_number_is_a_channel_named_by_its_path(
    payload: object, values: dict[str, float]
) -> None:
    frames, _ = decoded(AUTO, "plant/pump-1", payload)
    assert frames == [("pump-1", NOW_MS, values)]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"a.b": 1, "a": {"b": 2}}, "ambiguous"),
        ([[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]], "too_deep"),
        (list(range(1025)), "too_many"),
        ({"name": "x"}, "no_value"),
        ({}, "no_value"),
        (10**400, "not_json"),
        ({"k" * 300: 1}, "bad_channel"),
        (b"{", "not_json"),
        (b"", "empty"),
        (b" " * 300_000, "too_large"),
    ],
)
def test_what_cannot_be_read_is_refused(payload: object, reason: str) -> None:
    raw = b"1" * 400 if payload == 10**400 else payload
    text = refusal(AUTO, "x", raw)
    assert f": {reason}: " in text or (payload == 10**400 and "wrong_type" in text)
    assert "expected" in text


def test_a_refused_message_names_no_channels() -> None:
    made = decoder(AUTO)
    wide = json.dumps(list(range(2000))).encode()
    made.decode([Message("x", wide), Message("x", b'{"a":1}')], arrival_ms=0)
    assert made.directory.stream_count == 1


def field_rule(**changes: object) -> SourceRule:
    fields = (
        FieldRule("temp", channel="temperature", unit="°C", scale=0.1, offset=-40.0),
        FieldRule("points.0.v"),
    )
    return SourceRule(**({"match": "#", "format": "json", "field": fields} | changes))  # type: ignore[arg-type]


def test_fields_are_picked_scaled_and_named() -> None:
    made = decoder(field_rule())
    payload = json.dumps({"temp": 650, "points": [{"v": 3}, {"v": 4}], "other": 9}).encode()
    batch = made.decode([Message("plant/x", payload)], arrival_ms=NOW_MS)
    assert shown(made.directory, batch) == [("x", NOW_MS, {"temperature": 25.0, "points.0.v": 3.0})]
    assert made.directory.units == [["°C", ""]]


def test_a_field_may_be_null_or_absent_but_not_all_of_them() -> None:
    frames, _ = decoded(field_rule(), "x", {"temp": None})
    assert math.isnan(frames[0][2]["temperature"])
    assert "no_value" in refusal(field_rule(), "x", {"points": [], "other": 1})
    assert "temp: expected a number, got 'hot'" in refusal(field_rule(), "x", {"temp": "hot"})
    assert "got an array of 1" in refusal(field_rule(), "x", {"temp": [1]})


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("s", 1773043200.125),
        ("ms", 1773043200125),
        ("us", 1773043200125000),
        ("ns", 1773043200125000000),
        ("iso", "2026-03-09T08:00:00.125Z"),
        ("iso", "2026-03-09T08:00:00.125"),
        ("iso", "2026-03-09T09:00:00.125+01:00"),
    ],
)
def test_time_is_read_in_its_unit(unit: str, value: object) -> None:
    rule = SourceRule(
        match="#", format="json", time=TimeRule("when.t", unit), field=(FieldRule("v"),)
    )  # type: ignore[arg-type]
    frames, _ = decoded(rule, "x", {"when": {"t": value}, "v": 1})
    assert frames[0][1] == pytest.approx(1773043200125.0, abs=0.001)


@pytest.mark.parametrize(
    "payload",
    [
        {"v": 1},
        {"t": None, "v": 1},
        {"t": True, "v": 1},
        {"t": "soon", "v": 1},
        {"t": -1, "v": 1},
        {"t": 1e20, "v": 1},
        {"t": {}, "v": 1},
        [1],
    ],
)
@pytest.mark.parametrize("unit", ["s", "iso"])
def test_without_a_usable_time_a_message_is_refused(payload: object, unit: str) -> None:
    rule = SourceRule(match="#", format="json", time=TimeRule("t", unit))  # type: ignore[arg-type]
    assert ": bad_time: " in refusal(rule, "x", payload)


def test_topics_name_asset_and_channel() -> None:
    rule = SourceRule(match="plant/#", format="json", topic="plant/+/{asset}/{channel}")
    frames, _ = decoded(rule, "plant/hall 3/pump-1/flow", 5)
    assert frames == [("pump-1", NOW_MS, {"flow": 5.0})]
    frames, _ = decoded(rule, "plant/h/pump-1/flow", {"v": 5, "q": 1})
    assert frames == [("pump-1", NOW_MS, {"flow.v": 5.0, "flow.q": 1.0})]
    assert "no_rule" in refusal(rule, "plant/pump-1/flow", 5)


@given(
    st.lists(
        st.text(min_size=1, max_size=80).filter(lambda t: "/" not in t), unique=True, max_size=6
    )
)
def test_any_level_gives_an_asset_of_its_own(levels: list[str]) -> None:
    made = decoder(SourceRule(match="#", format="json", topic="p/{asset}"))
    made.decode([Message(f"p/{level}", b"1") for level in levels], arrival_ms=0)
    assert made.ledger.quarantined == 0
    assert len(set(made.directory.assets)) == len(levels)
    assert all(NAME.match(name) for name in made.directory.assets)


def test_the_first_rule_that_matches_wins() -> None:
    made = decoder(
        SourceRule(match="a/+", format="json", asset="first"),
        SourceRule(match="a/#", format="json", asset="second"),
    )
    batch = made.decode([Message(topic, b"1") for topic in ("a/b", "a/b/c", "z")], arrival_ms=0)
    assert [frame[0] for frame in shown(made.directory, batch)] == ["first", "second"]
    assert made.ledger.rejected == {"no_rule": 1}


@pytest.mark.parametrize(
    ("pattern", "topic", "matches"),
    [
        ("#", "a", True),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("a/#", "a", True),
        ("a/#", "ab", False),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d", False),
        ("+", "a/b", False),
        ("/+", "/a", True),
        ("a", "a/", False),
    ],
)
def test_filters_match_as_mqtt_says(pattern: str, topic: str, matches: bool) -> None:
    assert topic_matches(pattern, topic) is matches


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["a/+", "#"], ["#"]),
        (["a/b", "a/+", "a/#"], ["a/#"]),
        (["a/#", "a"], ["a/#"]),
        (["a/+/#", "a/#"], ["a/#"]),
        (["a/+", "a/#", "a/+/b"], ["a/#"]),
        (["a/+", "+/b"], ["a/+", "+/b"]),
        (["a/+", "a"], ["a/+", "a"]),
        (["$x/a", "#", "+/a"], ["$x/a", "#"]),
        (["a", "a"], ["a"]),
    ],
)
def test_a_filter_that_another_covers_is_not_subscribed(
    filters: list[str], left: list[str]
) -> None:
    assert filters_to_subscribe(SourceRule(match=each) for each in filters) == left


LEVELS = st.lists(st.sampled_from(["a", "b", "$x", ""]), min_size=1, max_size=3).map("/".join)
FILTERS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "+", "$x", ""]), min_size=1, max_size=3),
        st.sampled_from([[], ["#"]]),
    ).map(lambda parts: "/".join(parts[0] + parts[1])),
    min_size=1,
    max_size=4,
)


@given(FILTERS, LEVELS)
def test_subscribing_to_fewer_filters_misses_no_topic(filters: list[str], topic: str) -> None:
    left = filters_to_subscribe(SourceRule(match=each) for each in filters)
    matched = any(topic_matches(each, topic) for each in filters)
    assert matched == any(topic_matches(each, topic) for each in left)


def test_a_template_takes_what_else_it_says_by_the_letter() -> None:
    pattern = template_pattern("a.b/dev-{asset}/+/{channel}")
    found = pattern.fullmatch("a.b/dev-7/x/flow")
    assert found
    assert found.groupdict() == {"asset": "7", "channel": "flow"}
    assert not pattern.fullmatch("aXb/dev-7/x/flow")


def test_a_batch_of_nothing_but_garbage_is_empty() -> None:
    batch = decoder().decode([Message(OWN, b"?")], arrival_ms=0)
    assert batch.asset.size == batch.value.size == 0
    assert batch.time_us.dtype == np.int64
