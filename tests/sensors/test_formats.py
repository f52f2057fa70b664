from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.catalogue import open_recordings
from sensors.errors import RecordingError
from sensors.recording import Channel, Chunk, Recording, recording_of
from sensors.simulate.faults import parse_fault
from sensors.simulate.simulation import simulate
from sensors.writing import write_recording

YEAR_1_US, YEAR_9999_US = -62_135_596_800_000_000, 253_402_300_799_999_999
NAMES = st.text(
    st.characters(categories=("L", "N", "Zs", "P"), exclude_characters="[]"), min_size=1
)
SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    names = draw(
        st.lists(NAMES.filter(lambda n: n not in ("time", "label")), min_size=1, max_size=4,
                 unique=True)
    )  # fmt: skip
    rows = draw(st.integers(1, 6))
    number = st.floats(allow_nan=True, allow_infinity=False)
    values = draw(st.lists(number, min_size=rows * len(names), max_size=rows * len(names)))
    times = draw(st.lists(st.integers(YEAR_1_US, YEAR_9999_US), min_size=rows, max_size=rows))
    flags = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    chunk = Chunk(
        np.array(times, np.int64),
        np.array(values).reshape(rows, len(names)),
        {("leak", None): np.array(flags)},
    )
    unit = draw(st.sampled_from(["", "bar", "m3/h"]))
    return recording_of(
        chunk, asset="a", channels=tuple(Channel(n, unit) for n in names), origin="test"
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(recording=recordings())
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back(suffix: str, recording: Recording) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        assert write_recording(recording, path=path) == recording.row_count
        [back] = open_recordings(path)
        assert (back.asset, back.channels, back.labels) == (
            "a",
            recording.channels,
            recording.labels,
        )
        np.testing.assert_array_equal(back.whole().t_us, recording.whole().t_us)
        np.testing.assert_array_equal(back.whole().values, recording.whole().values)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_simulated_run_keeps_rows_and_labels_over_many_blocks(
    tmp_path: Path, suffix: str
) -> None:
    faults = [parse_fault("gap@1h+5m"), parse_fault("leak@1h30m")]
    recording = simulate("pump", duration_s=9000, seed=3, faults=faults)
    path = tmp_path / f"run{suffix}"
    assert write_recording(recording, path=path) == 9000
    [back] = open_recordings(path)
    assert back.labels == recording.labels
    assert back.channels == recording.channels
    np.testing.assert_array_equal(back.whole().values, recording.whole().values)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".jsonl.gz"])
def test_equal_recordings_give_equal_bytes(tmp_path: Path, suffix: str) -> None:
    written = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}{suffix}"
        write_recording(simulate("compressor", duration_s=600, seed=5), path=path)
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"expected a file named \*.csv"):
        write_recording(simulate("pump", duration_s=5, seed=1), path=tmp_path / "a.xlsx")


@given(content=st.binary(max_size=300), name=st.sampled_from(["a.csv", "a.jsonl", "a.csv.gz"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            for recording in open_recordings(path):
                recording.whole()
        except RecordingError as error:
            assert str(path) in str(error)  # noqa: PT017  # either outcome is right
