"""Columnar blocks: exact round trips, caps on both sides of the compression, typed refusals."""

from __future__ import annotations

from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wire.blocks import (
    MAX_BLOCK_BYTES,
    MAX_UNPACKED_BYTES,
    ROW_DTYPES,
    SKETCH_POINTS,
    ExcerptBlock,
    SummaryBlock,
    SummaryColumns,
    concatenate,
    decode_excerpt,
    decode_summaries,
    encode_excerpt,
    encode_summaries,
)
from wire.errors import MessageError

FLAT = {"knot_us": np.int64, "knot_value": np.float32}
names = st.sampled_from(["pump-1", "a", "x" * 64])
channel_names = st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=5).map(tuple)
floats32 = st.floats(width=32)


def dtype_of(name: str) -> np.dtype:
    return np.dtype(np.int64 if ROW_DTYPES[name] == "times" else ROW_DTYPES[name])


@st.composite
def summaries(draw: st.DrawFn) -> SummaryBlock:
    n = draw(st.integers(0, 12))
    parts = {name: draw(hnp.arrays(dtype_of(name), n)) for name in ROW_DTYPES}
    assets = draw(st.lists(names, min_size=1, max_size=3, unique=True).map(tuple))
    channels = draw(channel_names)
    parts["asset"] %= len(assets)
    parts["channel"] %= len(channels)
    parts["knots"] %= 5
    total = int(parts["knots"].sum())
    flat = {name: draw(hnp.arrays(kind, total)) for name, kind in FLAT.items()}
    sketch = draw(hnp.arrays(np.uint8, (n, SKETCH_POINTS)))
    rows = SummaryColumns(**parts, **flat, sketch=sketch)
    return SummaryBlock("g", "e", draw(st.integers(1, 2**63 - 1)), assets, channels, rows)


@st.composite
def excerpts(draw: st.DrawFn) -> ExcerptBlock:
    channels, n = draw(channel_names), draw(st.integers(0, 40))
    return ExcerptBlock(
        gateway=draw(names),
        epoch="e",
        seq=draw(st.integers(1, 2**63 - 1)),
        asset=draw(names),
        channels=channels,
        reason=draw(st.sampled_from(["history", "sample", "alert"])),
        times_us=draw(hnp.arrays(np.int64, n)),
        values=draw(hnp.arrays(np.float32, (n, len(channels)), elements=floats32)),
    )


def assert_same(one: object, other: object) -> None:
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), field.name
        elif isinstance(a, SummaryColumns):
            assert_same(a, b)
        else:
            assert a == b, field.name


def excerpt(**changes: object) -> ExcerptBlock:
    block = ExcerptBlock(
        gateway="g",
        epoch="e",
        seq=1,
        asset="a",
        channels=("c", "d"),
        reason="alert",
        times_us=np.array([2**63 - 1, -(2**63), 5]),
        values=np.array([[1, np.nan], [np.inf, -0.0], [1e-45, 3e38]], np.float32),
    )
    return replace(block, **changes)


def summary_rows(n: int) -> SummaryColumns:
    parts = {name: np.zeros(n, dtype_of(name)) for name in ROW_DTYPES}
    flat = {name: np.zeros(0, kind) for name, kind in FLAT.items()}
    return SummaryColumns(**parts, **flat, sketch=np.zeros((n, SKETCH_POINTS), np.uint8))


def raw(payload: bytes) -> dict:
    return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(payload))


def packed(content: object) -> bytes:
    return zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(content))


EXCERPT = raw(encode_excerpt(excerpt()))
SUMMARIES = raw(encode_summaries(SummaryBlock("g", "e", 1, ("a",), ("c",), summary_rows(2))))


@given(summaries())
def test_summaries_survive_the_wire_bit_for_bit(block: SummaryBlock) -> None:
    payload = encode_summaries(block)
    assert_same(decode_summaries(payload), block)
    assert encode_summaries(decode_summaries(payload)) == payload


@given(excerpts())
def test_an_excerpt_survives_the_wire_bit_for_bit(block: ExcerptBlock) -> None:
    payload = encode_excerpt(block)
    assert_same(decode_excerpt(payload), block)
    assert encode_excerpt(decode_excerpt(payload)) == payload


def test_nan_infinity_and_the_ends_of_time_survive() -> None:
    assert_same(decode_excerpt(encode_excerpt(excerpt())), excerpt())


def test_empty_blocks_survive() -> None:
    block = SummaryBlock("g", "e", 1, (), (), summary_rows(0))
    assert_same(decode_summaries(encode_summaries(block)), block)
    none = excerpt(times_us=np.zeros(0, np.int64), values=np.zeros((0, 2), np.float32))
    assert_same(decode_excerpt(encode_excerpt(none)), none)


def test_a_block_holds_65535_streams() -> None:
    n = 65_535
    rows = replace(
        summary_rows(n),
        asset=np.arange(n, dtype=np.uint16),
        start_us=np.arange(n) * 1_000_000,
        mean=np.linspace(0, 1, n, dtype=np.float32),
    )
    block = SummaryBlock("g", "e", 1, tuple(f"a{i}" for i in range(n)), ("c",), rows)
    assert_same(decode_summaries(encode_summaries(block)), block)


@given(st.lists(summaries(), min_size=1, max_size=4))
def test_joined_summaries_are_those_of_the_parts(blocks: list[SummaryBlock]) -> None:
    joined = concatenate([block.rows for block in blocks])
    for field in fields(joined):
        parts = [getattr(block.rows, field.name) for block in blocks]
        assert getattr(joined, field.name).tobytes() == b"".join(part.tobytes() for part in parts)
        assert getattr(joined, field.name).dtype == parts[0].dtype


def outcome(payload: bytes) -> set[str]:
    found = set()
    for decode in (decode_excerpt, decode_summaries):
        try:
            decode(payload)
        except MessageError as error:
            found.add("a reason" if "expected" in error.detail else error.detail)
        else:
            found.add("a block")
    return found


msgpack_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


@given(st.binary() | st.binary().map(zstandard.ZstdCompressor().compress))
def test_arbitrary_bytes_raise_nothing_but_message_errors(payload: bytes) -> None:
    assert outcome(payload) == {"a reason"}


@given(
    st.sampled_from([EXCERPT, SUMMARIES]),
    st.dictionaries(st.sampled_from(sorted(EXCERPT | SUMMARIES)), msgpack_values, min_size=1),
)
def test_any_content_in_any_field_raises_nothing_but_message_errors(
    good: dict, changes: dict
) -> None:
    assert outcome(packed(good | changes)) <= {"a reason", "a block"}


@given(st.data())
def test_flipped_bits_raise_nothing_but_message_errors(data: st.DataObject) -> None:
    payload = bytearray(encode_excerpt(excerpt()))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    assert outcome(bytes(payload)) <= {"a reason", "a block"}


@settings(max_examples=10)
@given(summaries())
def test_a_block_cut_short_anywhere_is_refused(block: SummaryBlock) -> None:
    payload = encode_summaries(block)
    for end in range(len(payload)):
        with pytest.raises(MessageError, match=r"^not_zstd: expected one zstd frame"):
            decode_summaries(payload[:end])


def compressed(body: bytes, *, states_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=states_size).compress(body)


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b"", "not_zstd", "expected one zstd frame"),
        (b"{}", "not_zstd", "expected one zstd frame"),
        (b"\0" * (MAX_BLOCK_BYTES + 1), "too_large", "at most 1000000 bytes of zstd, got 1000001"),
        (compressed(b"\0" * (MAX_UNPACKED_BYTES + 1)), "too_large", "16777216 bytes of Message"),
        (compressed(b"\0" * 2**26, states_size=False), "bad_block", "states its content size"),
        (compressed(b""), "bad_block", "truncated"),
        (packed(EXCERPT) + b"x", "not_zstd", "1 bytes of unused data"),
        (packed(EXCERPT) * 2, "not_zstd", "unused data"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0abcd", "not_zstd", "expected one zstd frame"),
        (compressed(msgspec.msgpack.encode(EXCERPT) + b"x"), "bad_block", "trailing"),
        (compressed(b"\x81\xa1x" + b"\x91" * 1_000_000), "bad_block", "recursion"),
        (compressed(b"\xdd\xff\xff\xff\xff"), "bad_block", "got `array`"),
        (packed(SUMMARIES), "wrong_type", "a block of excerpt, got summaries"),
        (packed(EXCERPT | {"v": 2}), "wrong_version", "a block of version 1"),
        (packed(EXCERPT | {"type": "gaps"}), "bad_block", "'gaps'"),
        (packed({k: v for k, v in EXCERPT.items() if k != "type"}), "bad_block", "`type`"),
        (packed(EXCERPT | {"later": 1}), "bad_block", "unknown field `later`"),
        (packed(EXCERPT | {"gateway": "a/b"}), "bad_block", "regex"),
        (packed(EXCERPT | {"asset": "a" * 65}), "bad_block", "regex"),
        (packed(EXCERPT | {"epoch": ""}), "bad_block", "length >= 1"),
        (packed(EXCERPT | {"seq": 0}), "bad_block", ">= 1"),
        (packed(EXCERPT | {"seq": 2**63}), "bad_block", "<= 9223372036854775807"),
        (packed(EXCERPT | {"channels": []}), "bad_block", "length >= 1"),
        (packed(EXCERPT | {"channels": ["c" * 257]}), "bad_block", "length <= 256"),
        (packed(EXCERPT | {"channels": ["c"] * 65_537}), "bad_block", "length <= 65536"),
        (packed(EXCERPT | {"reason": "why"}), "bad_block", "'why'"),
        (packed(EXCERPT | {"n": 2**63 - 1}), "bad_block", "values: expected 73786976294838206456"),
        (packed(EXCERPT | {"n": 2}), "bad_block", "values: expected 16, got 24"),
        (packed(EXCERPT | {"times": b""}), "bad_block", "times: expected 24, got 0"),
    ],
)
def test_an_excerpt_that_does_not_fit_is_refused(payload: bytes, reason: str, words: str) -> None:
    with pytest.raises(MessageError, match="expected") as caught:
        decode_excerpt(payload)
    assert caught.value.reason == reason
    assert words in caught.value.detail


def columns_with(name: str, data: bytes) -> dict:
    return SUMMARIES | {"columns": SUMMARIES["columns"] | {name: data}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (columns_with("extra", b""), "columns: expected"),
        (SUMMARIES | {"columns": {}}, "columns: expected ['asset', 'channel'"),
        (columns_with("mean", b"\0" * 7), "mean: expected 8, got 7"),
        (columns_with("asset", b"\0\1\0\0"), "asset: expected below 1, got 1"),
        (columns_with("channel", b"\0\0\0\xff"), "channel: expected below 1, got 65280"),
        (SUMMARIES | {"assets": []}, "asset: expected below 0, got 0"),
        (columns_with("knots", b"\1\0\0\0"), "knot_us: expected 8, got 0"),
        (columns_with("knots", b"\xff" * 4), "knot_us: expected 1048560, got 0"),
        (SUMMARIES | {"knot_value": b"\0" * 4}, "knot_value: expected 0, got 4"),
        (SUMMARIES | {"sketch": b"\0" * 31}, "sketch: expected 32, got 31"),
    ],
)
def test_summaries_that_do_not_fit_are_refused(content: dict, words: str) -> None:
    with pytest.raises(MessageError, match=r"^bad_block: ") as caught:
        decode_summaries(packed(content))
    assert words in caught.value.detail


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": noise(2)}, r"values: expected \(3, 2\), got \(2, 2\)"),
        ({"asset": "a/b"}, "regex"),
        ({"channels": ("c", "")}, "length >= 1"),
        ({"seq": 0}, ">= 1"),
        ({"times_us": np.arange(200_000), "values": noise(200_000)}, "1000000 bytes of zstd"),
        (
            {"times_us": np.arange(2_000_000), "values": np.zeros((2_000_000, 2), np.float32)},
            "16777216 bytes of MessagePack, got 32",
        ),
    ],
)
def test_an_excerpt_that_no_decoder_would_take_is_not_encoded(changes: dict, words: str) -> None:
    with pytest.raises(MessageError, match=words):
        encode_excerpt(excerpt(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"asset": np.array([0, 1])}, "asset: expected below 1, got 1"),
        ({"knots": np.array([1, 0])}, "knot_us: expected 8, got 0"),
        ({"knots": np.array([0, 65_536])}, "integers of uint16, got 0 to 65536"),
        ({"count": np.array([0, -1])}, "integers of uint32, got -1 to 0"),
        ({"mean": np.zeros(3, np.float32)}, "mean: expected 8, got 12"),
    ],
)
def test_summaries_that_no_decoder_would_take_are_not_encoded(changes: dict, words: str) -> None:
    rows = replace(summary_rows(2), **changes)
    with pytest.raises(MessageError, match=words):
        encode_summaries(SummaryBlock("g", "e", 1, ("a",), ("c",), rows))
