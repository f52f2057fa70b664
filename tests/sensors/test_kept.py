from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sensors.errors import KeptFileDamagedError, KeptFileError
from sensors.kept import KeptReadings, KeptRow

ROOT = Path(__file__).parents[2]


def bodies(*numbers: int) -> list[bytes]:
    return [b'{"t":%d,"values":{},"kept":true}' % number for number in numbers]


def kept(path: Path, *sources: str, limit_mb: float = 1.0) -> KeptReadings:
    opened = KeptReadings(path, limit_mb=limit_mb)
    for name in sources:
        opened.open_source(name)
    return opened


def held(readings: KeptReadings, source: str) -> list[KeptRow]:
    return readings.unconfirmed(source, after=0, limit=10_000)


def test_rows_are_numbered_from_1_and_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "kept.sqlite"
    with kept(path, "a", "b") as before:
        before.append({"a": bodies(1, 2), "b": bodies(7)})
        before.append({"a": bodies(3)})
        epochs = {name: source.epoch for name, source in before.sources.items()}
    with kept(path) as after:
        assert {name: source.epoch for name, source in after.sources.items()} == epochs
        assert held(after, "a") == list(zip([1, 2, 3], bodies(1, 2, 3), strict=True))
        assert held(after, "b") == [(1, bodies(7)[0])]
        assert after.unconfirmed("a", after=1, limit=1) == [(2, bodies(2)[0])]
        assert (after.first("a"), after.sources["a"].last, after.rows) == (1, 3, 4)


def test_what_is_confirmed_goes_and_numbers_go_on(tmp_path: Path) -> None:
    with kept(tmp_path / "k", "a", "b") as readings:
        readings.append({"a": bodies(1, 2, 3), "b": bodies(1)})
        readings.confirm("a", seq=2)
        readings.confirm("a", seq=1)
        assert (readings.first("a"), readings.rows) == (3, 2)
        readings.confirm("a", seq=3)
        assert readings.first("a") == 4
    with kept(tmp_path / "k") as readings:
        assert readings.first("a") == 4
        readings.append({"a": bodies(4)})
        assert held(readings, "a") == [(4, bodies(4)[0])]
        readings.confirm("a", seq=4)
        readings.confirm("b", seq=1)
        assert (readings.rows, readings.held_bytes) == (0, 0)


def test_beyond_the_limit_the_oldest_rows_of_the_file_go(tmp_path: Path) -> None:
    with kept(tmp_path / "k", "a", "b", limit_mb=0.005) as readings:
        for number in range(1, 101):
            readings.append({"a": bodies(number), "b": bodies(number)})
        assert readings.held_bytes <= 5000
        assert readings.rows > 60
        first = {name: readings.first(name) for name in "ab"}
        assert abs(first["a"] - first["b"]) <= 1
        assert [row.seq for row in held(readings, "a")] == list(range(first["a"], 101))
        dropped = {name: readings.sources[name].dropped for name in "ab"}
        assert dropped == {name: seq - 1 for name, seq in first.items()}
        readings.confirm("b", seq=100)
        readings.append({"a": bodies(101)})
        assert readings.first("a") == first["a"]


def test_a_failed_append_changes_nothing(tmp_path: Path) -> None:
    with kept(tmp_path / "k", "a") as readings:
        readings.append({"a": bodies(1)})
        with pytest.raises(KeyError):
            readings.append({"a": bodies(2), "unknown": bodies(1)})
        assert held(readings, "a") == [(1, bodies(1)[0])]
        assert (readings.sources["a"].last, readings.rows) == (1, 1)
        readings.append({"a": bodies(2)})
        assert [row.seq for row in held(readings, "a")] == [1, 2]


def test_a_set_back_file_goes_on_under_a_new_epoch(tmp_path: Path) -> None:
    with kept(tmp_path / "k", "a") as readings:
        readings.append({"a": bodies(*range(1, 2501))})
        epoch = readings.sources["a"].epoch
        readings.renumber("a", base=40)
        assert readings.sources["a"].epoch != epoch
        assert [row.seq for row in held(readings, "a")] == list(range(1, 2461))
        assert held(readings, "a")[0].body == bodies(41)[0]
        readings.append({"a": bodies(2501)})
        assert held(readings, "a")[-1] == (2461, bodies(2501)[0])


def test_rows_of_a_process_that_no_gateway_answered_were_never_sent(tmp_path: Path) -> None:
    path = tmp_path / "k"
    with kept(path, "a") as readings:
        readings.append({"a": bodies(1, 2)})
        readings.answered("a", gateway="g")
        readings.append({"a": bodies(3)})
    with kept(path) as readings:
        assert readings.sources["a"].known == 3
        readings.append({"a": bodies(4)})
    with kept(path) as readings:
        assert (readings.sources["a"].known, readings.sources["a"].last) == (3, 4)
        assert readings.sources["a"].gateway == "g"


def test_another_gateway_gets_what_waits_under_a_new_epoch(tmp_path: Path) -> None:
    with kept(tmp_path / "k", "a") as readings:
        readings.append({"a": bodies(1, 2, 3)})
        readings.choose_gateway("a", gateway="g1")
        epoch = readings.sources["a"].epoch
        readings.confirm("a", seq=1)
        readings.choose_gateway("a", gateway="g1")
        assert readings.sources["a"].epoch == epoch
        readings.choose_gateway("a", gateway="g2")
        assert readings.sources["a"].epoch != epoch
        assert held(readings, "a") == list(zip([1, 2], bodies(2, 3), strict=True))


def test_a_recording_that_ended_begins_under_a_new_epoch(tmp_path: Path) -> None:
    with kept(tmp_path / "k") as readings:
        first = readings.begin("a")
        readings.append({"a": bodies(1)})
        assert readings.begin("a").epoch == first.epoch
        assert readings.begin("a").taken == 1
        readings.confirm("a", seq=1)
        readings.end(["a"])
        again = readings.begin("a")
        assert (again.taken, again.taken_crc, again.last, readings.first("a")) == (0, 0, 0, 1)
        assert again.epoch != first.epoch


def test_a_second_process_is_told_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "k"
    code = (
        "import sys; from pathlib import Path; from sensors.kept import KeptReadings\n"
        "KeptReadings(Path(sys.argv[1]))"
    )
    with kept(path, "a") as readings:
        readings.append({"a": bodies(1)})
        other = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=ROOT,
            check=False,
        )  # fmt: skip
        assert "expected a file that no other process uses" in other.stderr
        with pytest.raises(KeptFileError, match="end the other process or give --keep FILE"):
            KeptReadings(path)
        readings.append({"a": bodies(2)})
    assert [file.name for file in tmp_path.iterdir()] == ["k"]


def test_a_damaged_row_goes_and_leaves_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "k"
    said: list[str] = []
    with kept(path, "a") as readings:
        readings.append({"a": bodies(1, 2, 3, 4)})
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE reading SET body = x'00' WHERE seq IN (1, 3)")
    connection.close()
    with KeptReadings(path, warn=said.append) as readings:
        assert [row.seq for row in held(readings, "a")] == [2, 4]
        assert (readings.first("a"), readings.sources["a"].damaged) == (2, 2)
        assert "2 damaged rows of a given up" in said[0]
        readings.renumber("a", base=0)
        assert [row.seq for row in held(readings, "a")] == [2, 4]


def test_a_page_of_nothing_but_damaged_rows_is_passed_over(tmp_path: Path) -> None:
    with kept(tmp_path / "k", "a") as readings:
        readings.append({"a": bodies(1, 2, 3)})
    with sqlite3.connect(tmp_path / "k") as connection:
        connection.execute("UPDATE reading SET crc = 0 WHERE seq < 3")
    connection.close()
    with kept(tmp_path / "k") as readings:
        assert readings.unconfirmed("a", after=0, limit=1) == [(3, bodies(3)[0])]


def test_a_damaged_state_of_a_source_sets_the_file_aside(tmp_path: Path) -> None:
    said: list[str] = []
    with kept(tmp_path / "k", "a") as readings:
        epoch = readings.sources["a"].epoch
    with sqlite3.connect(tmp_path / "k") as connection:
        connection.execute("UPDATE source SET state = cast('{}' AS BLOB)")
    connection.close()
    with KeptReadings(tmp_path / "k", warn=said.append) as readings:
        assert readings.open_source("a").epoch != epoch
    assert (tmp_path / "k.corrupt-1").exists()
    assert "set aside as k.corrupt-1" in said[0]


def test_any_damage_is_noticed_and_work_goes_on(tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    with kept(sound, "a", "b") as readings:
        for number in range(0, 300, 10):
            batch = bodies(*range(number, number + 10))
            readings.append({"a": batch, "b": batch})
        readings.confirm("b", seq=50)
    content = sound.read_bytes()
    wanted = {"a": dict(enumerate(bodies(*range(300)), start=1))}
    wanted["b"] = wanted["a"]
    generator = random.Random(6)
    for attempt in range(42):
        path = tmp_path / str(attempt) / "k"
        path.parent.mkdir()
        damaged = bytearray(content)
        if attempt % 3 == 0:
            del damaged[generator.randrange(len(damaged)) :]
        for _ in range(attempt % 3 * 4):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        readings = kept(path)
        try:
            check_and_go_on(readings, wanted)
        except KeptFileDamagedError:
            readings = kept(path)
            check_and_go_on(readings, wanted)
        readings.close()
        shutil.rmtree(path.parent)


def check_and_go_on(readings: KeptReadings, wanted: dict[str, dict[int, bytes]]) -> None:
    for name in readings.sources:
        assert dict(held(readings, name)).items() <= wanted[name].items()
    for name in "ab":
        readings.open_source(name)
        readings.append({name: bodies(1)})
        last = readings.sources[name].last
        assert held(readings, name)[-1] == (last, bodies(1)[0])
        readings.confirm(name, seq=last)
    assert readings.rows == 0


@pytest.mark.parametrize("content", [b"not a database", b"x" * 5000])
def test_what_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k"
    for number in (1, 2):
        path.write_bytes(content)
        said: list[str] = []
        KeptReadings(path, warn=said.append).close()
        assert f"set aside as k.corrupt-{number}" in said[0]
        assert (tmp_path / f"k.corrupt-{number}").read_bytes() == content


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeptFileError, match="give --keep FILE"):
        KeptReadings(tmp_path / "file" / "k")
    with pytest.raises(KeptFileError, match="give --keep FILE"):
        KeptReadings(tmp_path)
