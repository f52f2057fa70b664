from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from sensors.catalogue import open_recordings
from sensors.errors import MappingError, RecordingError
from sensors.mapping import read_mapping

PRESS = """
asset = "press-3"
delimiter = ";"
missing = ["", "n/a"]

[time]
column = "when"
format = "%d.%m.%Y %H:%M:%S"
zone = "Europe/Berlin"

[channels.current]
column = "Motor current"
unit = "A"

[channels.force]
column = "Force"

[labels.jam]
column = "State"
channel = "force"
"""
ROWS = (
    "when;Motor current;Force;State\n"
    "01.07.2024 12:00:00;1.5;n/a;\n"
    "01.07.2024 12:00:01;1e3;-2;1\n"
    "01.07.2024 12:00:00;;7;blocked+bent\n"
)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_mapping_gives_times_channels_and_labels(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv", ROWS)
    [recording] = open_recordings(file, mapping=written(tmp_path, "m.toml", PRESS))
    assert recording.asset == "press-3"
    assert [(c.name, c.unit) for c in recording.channels] == [("current", "A"), ("force", "")]
    whole = recording.whole()
    noon_us = 1_719_828_000_000_000  # 2024-07-01 10:00 UTC is noon in Berlin
    assert whole.t_us.tolist() == [noon_us, noon_us + 1_000_000, noon_us]
    np.testing.assert_array_equal(whole.values, [[1.5, np.nan], [1000, -2], [np.nan, 7]])
    assert [(label.kind, label.channel) for label in recording.labels] == [
        ("bent", "force"),
        ("blocked", "force"),
        ("jam", "force"),
    ]


def test_gzip_and_plain_read_alike(tmp_path: Path) -> None:
    mapping = written(tmp_path, "m.toml", PRESS)
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(ROWS.encode()))
    [plain] = open_recordings(written(tmp_path, "a.csv", ROWS), mapping=mapping)
    [unpacked] = open_recordings(packed, mapping=mapping)
    np.testing.assert_array_equal(plain.whole().values, unpacked.whole().values)


@pytest.mark.parametrize(
    ("format_name", "cell", "expected_us"),
    [
        ("iso", "2024-07-01T10:00:00.25+02:00", 1_719_820_800_250_000),
        ("unix_s", "1719828000.5", 1_719_828_000_500_000),
        ("unix_ms", "1719828000001", 1_719_828_000_001_000),
        ("unix_us", "1719828000000001", 1_719_828_000_000_001),
    ],
)
def test_time_formats(tmp_path: Path, format_name: str, cell: str, expected_us: int) -> None:
    mapping = written(tmp_path, "m.toml", f'[time]\nformat = "{format_name}"\n')
    [recording] = open_recordings(
        written(tmp_path, "a.csv", f"time,x\n{cell},1\n"), mapping=mapping
    )
    assert next(recording.rows()).t_us == expected_us


def test_rows_without_times_are_a_period_apart(tmp_path: Path) -> None:
    text = '[time]\nperiod_s = 0.5\nstart = "1970-01-01T00:01:00Z"\n'
    mapping = written(tmp_path, "m.toml", text)
    file = written(tmp_path, "a.csv", "x\n" + "1\n" * 5000)
    [recording] = open_recordings(file, mapping=mapping)
    assert recording.whole().t_us.tolist() == [60_000_000 + 500_000 * n for n in range(5000)]


def test_asset_column_gives_one_recording_an_asset(tmp_path: Path) -> None:
    mapping = written(tmp_path, "m.toml", 'asset_column = "who"\n')
    text = "time,who,x\n2024-01-01,b,1\n2024-01-01,a 1,2\n2024-01-02,b,3\n"
    recordings = open_recordings(written(tmp_path, "f.csv", text), mapping=mapping)
    assert {r.asset: r.whole().values[:, 0].tolist() for r in recordings} == {
        "b": [1, 3],
        "a-1": [2],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: expected a header line, got an empty file"),
        ("t,x\n1,2\n", "line 1, column 'time': expected this column, got t, x"),
        ("time,x,x\n", "line 1, column 'x': expected distinct names"),
        ("time\n2024-01-01\n", "line 1: expected at least one channel column, got none"),
        ("time,x\n2024-01-01,1\n\nnoon,2\n", "line 4, column 'time': expected a time"),
        ("time,x\n2024-01-01,1\n2024-01-02,warm\n", "line 3, column 'x': expected a number, got '"),
        ("time,x\n2024-01-01,1\n2024-01-02,1,3\n", "line 3: expected 2 cells, got 3"),
        ("time,x\n2024-01-01,1\n2024-01-02\n", "line 3: expected 2 cells, got 1"),
    ],
)
def test_bad_table_names_file_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, "bad.csv", text)
    with pytest.raises(RecordingError) as caught:
        [r.whole() for r in open_recordings(file)]
    assert str(caught.value).startswith(str(file))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"time": "2024-01-01", "x": 1}\nnonsense\n', "line 2: expected a JSON object"),
        ('{"time": "2024-01-01", "x": {"y": 1}}\n', "line 1, column 'x': expected a number"),
        ('{"time": 12, "x": 1}\n', "line 1, column 'time': expected a time"),
        ('{"x": 1}\n', "column 'time': expected this column, got x"),
    ],
)
def test_bad_json_lines_name_the_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecordingError) as caught:
        [r.whole() for r in open_recordings(written(tmp_path, "bad.jsonl", text))]
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["bad.csv.gz", "bad.parquet"])
def test_file_of_another_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordingError, match="expected"):
        open_recordings(written(tmp_path, name, "time,x\n2024-01-01,1\n"))


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(b"time,x\n" + b"2024-01-01,1\n" * 999)[:-9])
    with pytest.raises(RecordingError, match="expected readable UTF-8 text"):
        [r.whole() for r in open_recordings(file)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("asset = 3\n", "$.asset"),
        ('colour = "red"\n', "colour"),
        ("[channels.a]\n", "column"),
        ("[time\n", "expected a recording mapping"),
        ('delimiter = "::"\n', "key `delimiter`"),
        ("[time]\nperiod_s = 0\n", "key `time.period_s`"),
        ('[channels.a]\ncolumn="a"\n[labels.x]\ncolumn="l"\nchannel="b"\n', "labels.x.channel"),
    ],
)
def test_bad_mapping_names_the_key(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, "m.toml", text)
    with pytest.raises(MappingError) as caught:
        read_mapping(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_unknown_zone_and_unsafe_asset_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv", "time,x\n2024-01-01,1\n")
    mapping = written(tmp_path, "z.toml", '[time]\nzone = "Mars/Olympus"\n')
    [recording] = open_recordings(file, mapping=mapping)
    with pytest.raises(MappingError, match="expected an IANA time zone"):
        recording.whole()
    with pytest.raises(MappingError, match="key `asset`"):
        open_recordings(file, mapping=written(tmp_path, "s.toml", 'asset = "a/b"\n'))


def test_same_names_in_two_folders_become_distinct(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, "a.csv", "time,x\n2024-01-01,1\n")
    assert [r.asset for r in open_recordings(tmp_path)] == ["one-a.csv", "two-a.csv"]


def test_the_documented_mapping_is_one(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "sensors.md").read_text("utf-8")
    shown = guide.partition("<!-- mapping -->\n```toml\n")[2].partition("```")[0]
    mapping = read_mapping(written(tmp_path, "m.toml", shown))
    text = "when;Motor current;State\n01.07.2024 12:00:00;-;ok\n01.07.2024 12:00:01;2;7\n"
    [recording] = open_recordings(written(tmp_path, "a.csv", text), mapping=mapping)
    assert recording.asset == "press-3"
    assert [(label.kind, label.channel) for label in recording.labels] == [("jam", "current")]
