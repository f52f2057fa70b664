from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sensors.catalogue import open_recordings
from sensors.errors import MappingError, RecordingError
from sensors.recording import Recording
from wire.topics import check_name

FOLDERS = {
    "nab": "nab",
    "skab": "skab",
    "smap": "smap_msl",
    "lro": "lro_water",
    "femto": "femto_bearing",
    "cmapss": "cmapss_fd001",
}


def by_asset(recordings: list[Recording]) -> dict[str, Recording]:
    return {recording.asset: recording for recording in recordings}


def rows_below_header(files: list[Path]) -> int:
    return sum(sum(map(bool, f.read_text().split("\n"))) - 1 for f in files)


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


@pytest.mark.parametrize("preset", FOLDERS)
def test_assets_are_distinct_topic_names(data: Path, preset: str) -> None:
    recordings = open_recordings(data / FOLDERS[preset], preset=preset)
    names = [check_name(recording.asset, what="asset") for recording in recordings]
    assert len(set(names)) == len(names) > 0


def test_nab_has_every_row_and_window(data: Path) -> None:
    recordings = open_recordings(data / "nab", preset="nab")
    files = sorted((data / "nab" / "data").rglob("*.csv"))
    windows = json.loads((data / "nab" / "labels" / "combined_windows.json").read_text())
    assert [r.origin for r in recordings] == [
        f.relative_to(data / "nab" / "data").as_posix() for f in files
    ]
    assert len(recordings) == 35
    assert sum(r.row_count for r in recordings) == rows_below_header(files) == 224_128
    assert {r.origin: len(r.labels) for r in recordings} == {
        r.origin: len(windows[r.origin]) for r in recordings
    }
    assert sum(len(r.labels) for r in recordings) == 66


def test_nab_file_is_the_same_recording_as_in_its_folder(data: Path) -> None:
    file = data / "nab/data/realKnownCause/machine_temperature_system_failure.csv"
    [alone] = open_recordings(file, preset="nab")
    inside = by_asset(open_recordings(data / "nab", preset="nab"))[alone.asset]
    assert alone.origin == inside.origin
    assert alone.labels == inside.labels
    assert alone.labels[0].start_us == us("2013-12-10 06:25:00")
    first = next(alone.rows())
    assert (first.t_us, first.values) == (us("2013-12-02 21:15:00"), [73.96732207])


def test_nab_keeps_file_order_where_time_goes_back(data: Path) -> None:
    file = data / "nab/data/realKnownCause/machine_temperature_system_failure.csv"
    [recording] = open_recordings(file, preset="nab")
    assert int((np.diff(recording.whole().t_us) < 0).sum()) == 1


def test_skab_reads_channels_and_never_publishes_labels(data: Path) -> None:
    recordings = by_asset(open_recordings(data / "skab", preset="skab"))
    files = sorted((data / "skab" / "data").rglob("*.csv"))
    assert len(recordings) == 21
    assert sum(r.row_count for r in recordings.values()) == rows_below_header(files) == 32_108
    assert {len(r.channels) for r in recordings.values()} == {8}
    assert recordings["anomaly-free"].labels == ()
    first = next(recordings["other-10"].rows())
    assert first.t_us == us("2020-02-08 17:47:44")
    assert first.values == [
        0.235339, 0.277369, 2.44922, 0.054711, 86.4961, 29.2351, 221.398, 127.375
    ]  # fmt: skip
    assert [(c.name, c.unit) for c in recordings["other-10"].channels][2:4] == [
        ("current", "A"),
        ("pressure", "bar"),
    ]


def test_skab_labels_cover_the_rows_marked_in_the_file(data: Path) -> None:
    [recording] = open_recordings(data / "skab/data/other/10.csv", preset="skab")
    lines = (data / "skab/data/other/10.csv").read_text().split("\n")[1:]
    cells = [line.strip().split(";") for line in lines if line]
    marked = {us(row[0]) for row in cells if row[9] == "1.0"}
    anomalies = [label for label in recording.labels if label.kind == "anomaly"]
    inside = {
        row.t_us for row in recording.rows()
        if any(label.start_us <= row.t_us <= label.end_us for label in anomalies)
    }  # fmt: skip
    assert inside == marked != set()
    assert "changepoint" in {label.kind for label in recording.labels}


def test_smap_gives_the_test_part_with_labelled_rows(data: Path) -> None:
    recordings = by_asset(open_recordings(data / "smap_msl", preset="smap"))
    assert len(recordings) == 48
    recording = recordings["P-1"]
    assert recording.origin == "SMAP/test/P-1.csv.gz"
    assert recording.row_count == 8505
    start_us = us("2000-01-01")
    spans = [
        ((x.start_us - start_us) // 60_000_000, (x.end_us - start_us) // 60_000_000)
        for x in recording.labels
    ]
    assert spans == [(2149, 2349), (3539, 3779), (4536, 4844)]
    assert recording.channels[0].name == "value"


def test_smap_train_folder_gives_nominal_data(data: Path) -> None:
    recordings = open_recordings(data / "smap_msl/SMAP/train", preset="smap")
    assert len(recordings) > 0
    assert {r.labels for r in recordings} == {()}


def test_lro_keeps_dead_sensor_values_and_flags_by_channel(data: Path) -> None:
    recordings = by_asset(open_recordings(data / "lro_water", preset="lro"))
    assert len(recordings) == 8
    recording = recordings["TonyGrove2019"]
    assert recording.row_count == 30_450
    whole = recording.whole()
    temp = whole.values[:, 0]
    assert temp.min() == -9999
    assert whole.flags["temp_flagged", "temp"][temp == -9999].all()
    assert {label.channel for label in recording.labels} <= {c.name for c in recording.channels}


def test_femto_bursts_are_25600_hz_and_ten_seconds_apart(data: Path) -> None:
    [recording] = open_recordings(data / "femto_bearing/Bearing1_1.csv.gz", preset="femto")
    t_us = recording.whole().t_us
    assert len(t_us) == 60 * 2560
    assert [c.name for c in recording.channels] == ["acc_horizontal", "acc_vertical"]
    steps = np.diff(t_us)
    assert steps[:2559].mean() == pytest.approx(1e6 / 25_600, abs=0.05)
    starts = t_us[::2560]
    assert (np.diff(starts) > 0).all()
    assert (starts[1] - starts[0]) / 1e6 == pytest.approx(47 * 10, abs=2)


def test_cmapss_gives_one_asset_an_engine(data: Path) -> None:
    recordings = by_asset(open_recordings(data / "cmapss_fd001", preset="cmapss"))
    assert len(recordings) == 160
    engine = recordings["train_FD001-1"]
    assert engine.row_count == 192
    assert [c.name for c in engine.channels][:4] == ["opt_set1", "opt_set2", "opt_set3", "s1"]
    assert len(engine.channels) == 24
    assert set(np.diff(engine.whole().t_us).tolist()) == {3_600_000_000}
    assert next(engine.rows()).values[3:5] == [518.67, 641.82]


def test_unknown_preset_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"expected a preset of nab, skab.* got 'nope'"):
        open_recordings(tmp_path, preset="nope")


@pytest.mark.parametrize("preset", FOLDERS)
def test_empty_folder_is_an_error(tmp_path: Path, preset: str) -> None:
    with pytest.raises(RecordingError, match="expected a file, or a folder with"):
        open_recordings(tmp_path, preset=preset)
