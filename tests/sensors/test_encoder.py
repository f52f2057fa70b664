from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from sensors.encoder import SourceEncoder
from sensors.recording import Row
from wire.codec import decode_readings

LATEST_US = 7_258_118_400_000_000


def test_one_row_is_one_object() -> None:
    encoder = SourceEncoder(["a", "b"], epoch="e1")
    payload = encoder.encode(Row(1_500_000, [1.5, math.nan]))
    assert json.loads(payload or b"") == {
        "id": ["e1", 1],
        "t": 1500,
        "values": {"a": 1.5, "b": None},
    }
    assert encoder.readings == 1


def test_several_rows_are_an_array_and_the_rest_is_flushed() -> None:
    encoder = SourceEncoder(["a"], epoch="e", rows_per_message=3)
    payloads = [encoder.encode(Row(n, [float(n)])) for n in range(8)]
    sent = [payload for payload in (*payloads, encoder.flush()) if payload is not None]
    assert [[m.id[1] for m in decode_readings(p)] for p in sent] == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert encoder.flush() is None


@given(
    rows=st.lists(
        st.tuples(st.integers(0, LATEST_US), st.lists(st.floats(), min_size=2, max_size=2)),
        max_size=20,
    ),
    rows_per_message=st.integers(1, 7),
)
def test_decoding_gives_back_every_row(
    rows: list[tuple[int, list[float]]], rows_per_message: int
) -> None:
    encoder = SourceEncoder(["x", "y"], epoch="e", rows_per_message=rows_per_message)
    payloads = [encoder.encode(Row(t_us, values)) for t_us, values in rows]
    sent = [p for p in (*payloads, encoder.flush()) if p is not None]
    back = [message for payload in sent for message in decode_readings(payload)]
    assert [m.id for m in back] == [("e", n + 1) for n in range(len(rows))]
    assert [round(m.t * 1000) for m in back] == [t_us for t_us, _ in rows]
    for message, (_, values) in zip(back, rows, strict=True):
        expected = [value if math.isfinite(value) else None for value in values]
        assert list(message.values.values()) == expected
    assert encoder.readings == sum(v is not None for m in back for v in m.values.values())
