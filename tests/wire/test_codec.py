"""JSON at the door: whatever comes, it is a message or a MessageError that says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from random import Random

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wire.codec import MAX_JSON_BYTES, decode_json, decode_readings, encode_json
from wire.errors import MessageError
from wire.messages import (
    MAX_EVENT_MS,
    AlertEvent,
    AssetState,
    GatewayStatus,
    ModelManifest,
    ReadingMessage,
    StoredMessage,
)

KINDS = (AlertEvent, AssetState, GatewayStatus, ModelManifest, ReadingMessage, StoredMessage)
GOOD = b'{"id":["e",1],"t":0,"values":{"a":1}}'

readings = st.builds(
    ReadingMessage,
    id=st.tuples(st.text(min_size=1, max_size=64), st.integers(1, 2**63 - 1)),
    t=st.floats(0, MAX_EVENT_MS),
    values=st.dictionaries(
        st.text(min_size=1, max_size=256),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        max_size=8,
    ),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
mutilated = st.builds(
    lambda at, byte: GOOD[:at] + bytes([byte]) + GOOD[at + 1 :],
    st.integers(0, len(GOOD) - 1),
    st.integers(0, 255),
)


def reading(*, seq: str = "1", t: str = "0", value: str = "1") -> bytes:
    return f'{{"id":["e",{seq}],"t":{t},"values":{{"a":{value}}}}}'.encode()


def outcome(decode: Callable[[bytes], object], payload: bytes) -> str:
    try:
        decode(payload)
    except MessageError as error:
        return "a reason" if "expected" in error.detail else error.detail
    return "a message"


def refusal(payload: bytes) -> MessageError:
    with pytest.raises(MessageError, match="expected") as caught:
        decode_readings(payload)
    assert len(str(caught.value)) < 600
    return caught.value


@given(readings)
def test_a_reading_message_survives_the_wire_exactly(message: ReadingMessage) -> None:
    payload = encode_json(message)
    assert decode_readings(payload) == [message]
    assert decode_json(payload, ReadingMessage) == message


@given(st.lists(readings, max_size=4))
def test_an_array_of_reading_messages_survives_the_wire_exactly(
    messages: list[ReadingMessage],
) -> None:
    assert decode_readings(b"[" + b",".join(map(encode_json, messages)) + b"]") == messages


@given(readings, st.randoms())
def test_equal_messages_give_equal_bytes(message: ReadingMessage, random: Random) -> None:
    items = list(message.values.items())
    random.shuffle(items)
    twin = msgspec.structs.replace(message, values=dict(items))
    assert twin == message
    assert encode_json(twin) == encode_json(message)


@given(st.one_of(st.binary(), mutilated, json_values.map(lambda v: json.dumps(v).encode())))
@example(b"[" * 100_000)
@example(b'{"x":' + b"[" * 100_000)
@example(b'{"x":' + b'{"x":' * 40_000)
@example(b"\xef\xbb\xbf" + GOOD)
def test_arbitrary_bytes_raise_nothing_but_message_errors(payload: bytes) -> None:
    for kind in KINDS:
        assert outcome(partial(decode_json, kind=kind), payload) in {"a message", "a reason"}
    assert outcome(decode_readings, payload) in {"a message", "a reason"}


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b"", "empty", "got 0 bytes"),
        (b" " * (MAX_JSON_BYTES + 1), "too_large", "at most 262144 bytes, got 262145"),
        (b"x" * 1_000_000, "too_large", "got 1000000"),
        (b"null", "wrong_type", "got 'null'"),
        (b"{}", "wrong_type", "missing required field `id`"),
        (b"[0]", "wrong_type", "at `$[0]`"),
        (GOOD[:-1], "not_json", "truncated"),
        (GOOD + b" x", "not_json", "trailing characters"),
        (GOOD.replace(b"e", b"\xff"), "not_json", "can't decode byte 0xff"),
        (GOOD.replace(b'"a"', b'"\xff"'), "not_json", "can't decode byte 0xff"),
        (GOOD[:-1] + b',"x":' + b"[" * 90_000, "too_deep", "recursion"),
        (b"\x00\x01\x02", "not_json", r"got '\x00\x01\x02'"),
        (GOOD.replace(b'"e"', b'""'), "wrong_type", "length >= 1 - at `$.id[0]`"),
        (GOOD.replace(b"e", b"e" * 65), "wrong_type", "length <= 64 - at `$.id[0]`"),
        (GOOD.replace(b'"a"', b'""'), "wrong_type", "length >= 1"),
        (GOOD.replace(b'"a"', b'"' + b"a" * 257 + b'"'), "wrong_type", "length <= 256"),
    ],
)
def test_a_payload_that_is_no_message_is_refused(payload: bytes, reason: str, words: str) -> None:
    error = refusal(payload)
    assert error.reason == reason
    assert words in error.detail


@pytest.mark.parametrize(
    ("seq", "words"),
    [
        ("0", "`int` >= 1"),
        ("-1", "`int` >= 1"),
        ("1.0", "got `float`"),
        (str(2**63), "<= 9223372036854775807"),
        ("9" * 5000, "out of range"),
        ('"1"', "got `str`"),
        ("true", "got `bool`"),
    ],
)
def test_a_sequence_number_out_of_range_is_refused(seq: str, words: str) -> None:
    error = refusal(reading(seq=seq))
    assert error.reason == "wrong_type"
    assert words in error.detail
    assert "`$.id[1]`" in error.detail


@pytest.mark.parametrize(
    ("t", "reason"),
    [
        ("-0.001", "bad_time"),
        ("7258118400000.1", "bad_time"),
        ("9" * 300, "bad_time"),
        ("1e400", "wrong_type"),
        ("1e99999999999999999999", "wrong_type"),
        ("9" * 400, "wrong_type"),
        ("null", "wrong_type"),
        ("NaN", "not_json"),
    ],
)
def test_a_time_out_of_range_is_refused(t: str, reason: str) -> None:
    assert refusal(reading(t=t)).reason == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NaN", "not_json"),
        ("Infinity", "not_json"),
        ("-Infinity", "not_json"),
        ("1e400", "wrong_type"),
        ("-1e99999999999999999999", "wrong_type"),
        ("9" * 400, "wrong_type"),
        ("true", "wrong_type"),
        ('"1"', "wrong_type"),
        ("[1]", "wrong_type"),
    ],
)
def test_a_value_that_is_no_number_is_refused(value: str, reason: str) -> None:
    assert refusal(reading(value=value)).reason == reason


@pytest.mark.parametrize(
    ("value", "number"),
    [("1e-400", 0.0), (str(2**63), 2.0**63), (str(10**300), 1e300), ("null", None), ("-0.0", 0.0)],
)
def test_unusual_numbers_within_range_are_read(value: str, number: float | None) -> None:
    assert decode_readings(reading(value=value))[0].values == {"a": number}


def test_one_bad_message_refuses_its_whole_array() -> None:
    assert refusal(b"[" + GOOD + b"," + reading(t="-1") + b"]").reason == "bad_time"


@pytest.mark.parametrize("payload", [GOOD[:-1] + b',"x":1}', GOOD[:-1] + b',"x":{"y":[null]}}'])
def test_unknown_fields_are_skipped(payload: bytes) -> None:
    assert decode_readings(payload) == decode_readings(GOOD)


def test_the_size_cap_is_inclusive_and_adjustable() -> None:
    assert decode_readings(GOOD.ljust(MAX_JSON_BYTES)) == decode_readings(GOOD)
    with pytest.raises(MessageError, match="at most 10 bytes, got 37"):
        decode_json(GOOD, ReadingMessage, max_bytes=10)


def test_numbers_that_json_lacks_become_null() -> None:
    message = ReadingMessage(("e", 1), 0.0, {"a": float("nan"), "b": float("inf")})
    assert decode_readings(encode_json(message))[0].values == {"a": None, "b": None}
