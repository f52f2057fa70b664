from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sensors.encoder import kept_body
from sensors.errors import BrokerUnreachableError, PublishRefusedError, RecordingError
from sensors.host import Host, keep_host
from sensors.kept import KeptReadings
from sensors.keptpublisher import KeptPublisher
from sensors.keptreplay import replay_kept
from sensors.recording import Row
from sensors.simulate.simulation import simulate
from vedette.broker import Broker, free_port, start_mosquitto
from wire.topics import Topics

Receive = Callable[..., Any]
TOPICS = Topics("test/v1")
ROOT = Path(__file__).parents[2]


def forgetful_broker(port: int, *, directory: Path) -> AbstractContextManager[Broker]:
    """A broker that keeps nothing of what it acknowledged when it is killed."""
    return start_mosquitto(port=port, directory=directory, overrides={"persistence": "false"})


@contextmanager
def publishing(
    url: str, path: Path, *sources: str, limit_mb: float = 256, **options: Any
) -> Iterator[tuple[KeptPublisher, KeptReadings]]:
    with (
        KeptReadings(path, limit_mb=limit_mb) as kept,
        KeptPublisher(url, kept=kept, topics=TOPICS, sources=sources, **options) as publisher,
    ):
        yield publisher, kept


def row(number: int) -> bytes:
    return kept_body(["n"], Row(number * 1000, [float(number)]))


def keep(publisher: KeptPublisher, source: str, numbers: range) -> None:
    for number in numbers:
        publisher.keep(source, row(number))


def in_order(taken: Any, *, first: int = 1) -> bool:
    return bool(taken.seqs == list(range(first, first + len(taken.seqs))))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("rows_per_message", [1, 7])
def test_every_row_is_taken_once_and_then_leaves_the_disk(
    mosquitto: Broker, tmp_path: Path, receive: Receive, protocol: Any, rows_per_message: int
) -> None:
    receiver = receive(mosquitto.port, topics=TOPICS)
    recordings = [simulate(rig, duration_s=300, seed=1) for rig in ("pump", "compressor")]
    names = [recording.asset for recording in recordings]
    with publishing(
        mosquitto.url, tmp_path / "k", *names, protocol=protocol, rows_per_message=rows_per_message
    ) as (publisher, kept):
        counts = replay_kept(recordings, publisher=publisher, kept=kept, speed=math.inf)
        assert (kept.rows, kept.held_bytes, publisher.unconfirmed) == (0, 0, 0)
    assert (counts.rows, counts.readings) == (600, 300 * 15)
    assert counts.messages < 2 * (300 / rows_per_message + 20)
    for recording in recordings:
        [taken] = receiver.of(recording.asset)
        assert taken.seqs == list(range(1, 301))
        assert taken.values == [row.values[0] for row in recording.rows()]
        assert taken.gaps == []


def test_rows_wait_while_there_is_neither_broker_nor_gateway(
    needs_mosquitto: None, tmp_path: Path, receive: Receive
) -> None:
    port, said = free_port(), []
    with publishing(
        f"mqtt://127.0.0.1:{port}", tmp_path / "k", "a", warn=said.append, commit_rows=1
    ) as (publisher, kept):
        keep(publisher, "a", range(50))
        while not said:
            publisher.serve(0.05)
        assert "no broker at 127.0.0.1" in said[0]
        assert kept.rows == 50
        with start_mosquitto(port=port, directory=tmp_path):
            while len(said) < 2:
                publisher.serve(0.05)
            keep(publisher, "a", range(50, 100))
            publisher.serve(0.2)
            assert (kept.rows, publisher.messages) == (100, 0)
            receiver = receive(port, topics=TOPICS)
            publisher.drain()
        assert said[1:] == [
            f"connected to 127.0.0.1:{port}; 50 rows wait",
            "gateway g1 confirms what it stores",
        ]
    [taken] = receiver.of("a")
    assert taken.values == list(range(100))


def test_rows_left_by_one_process_are_sent_by_the_next(
    mosquitto: Broker, tmp_path: Path, receive: Receive
) -> None:
    with publishing(mosquitto.url, tmp_path / "k", "a", "b") as (publisher, _):
        keep(publisher, "a", range(10))
        keep(publisher, "b", range(20))
    receiver = receive(mosquitto.port, topics=TOPICS)
    with publishing(mosquitto.url, tmp_path / "k", "b") as (publisher, _):
        keep(publisher, "b", range(20, 30))
        publisher.drain()
    assert [taken.values for taken in receiver.of("a")] == [list(range(10))]
    assert [taken.values for taken in receiver.of("b")] == [list(range(30))]


def test_a_broker_that_forgets_what_it_acknowledged_loses_nothing(
    needs_mosquitto: None, tmp_path: Path, receive: Receive
) -> None:
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    with ExitStack() as stack, publishing(url, tmp_path / "k", "a") as (publisher, kept):
        broker = stack.enter_context(forgetful_broker(port, directory=tmp_path))
        receiver = receive(port, topics=TOPICS)
        for number in range(3):
            keep(publisher, "a", range(number * 1000, number * 1000 + 500))
            publisher.drain()
            receiver.go()
            keep(publisher, "a", range(number * 1000 + 500, number * 1000 + 1000))
            while publisher.messages < (number + 1) * 1000 or publisher.unacknowledged:
                publisher.serve(0.01)
            assert kept.rows == 500
            broker.kill()
            broker = stack.enter_context(forgetful_broker(port, directory=tmp_path))
            receiver.come()
            publisher.drain()
            assert publisher.reconnects == number + 1
    [taken] = receiver.of("a")
    assert taken.values == list(range(3000))
    assert taken.gaps == []


def test_what_the_broker_drops_for_an_absent_gateway_comes_again(
    needs_mosquitto: None, tmp_path: Path, receive: Receive
) -> None:
    tight = {"max_queued_messages": "50", "max_inflight_messages": "20"}
    with start_mosquitto(port=free_port(), directory=tmp_path, overrides=tight) as broker:
        receiver = receive(broker.port, topics=TOPICS)
        with publishing(broker.url, tmp_path / "k", "a") as (publisher, _):
            keep(publisher, "a", range(100))
            publisher.drain()
            receiver.go()
            keep(publisher, "a", range(100, 1000))
            while publisher.messages < 1000:
                publisher.serve(0.02)
            receiver.come()
            publisher.drain()
    [taken] = receiver.of("a")
    assert taken.values == list(range(1000))
    assert receiver.early > 0 or publisher.messages > 1000


def test_a_full_disk_gives_up_the_oldest_and_tells_the_gateway(
    mosquitto: Broker, tmp_path: Path, receive: Receive
) -> None:
    receiver = receive(mosquitto.port, topics=TOPICS)
    with publishing(mosquitto.url, tmp_path / "k", "a", limit_mb=0.01) as (publisher, kept):
        keep(publisher, "a", range(20))
        publisher.drain()
        receiver.go()
        keep(publisher, "a", range(20, 2000))
        publisher.commit()
        dropped = kept.sources["a"].dropped
        first = kept.first("a")
        assert kept.held_bytes <= 10_000
        assert first == 21 + dropped > 1000
        receiver.come()
        publisher.drain()
    [taken] = receiver.of("a")
    lost = {n for start, end in taken.gaps for n in range(start, end + 1)}
    assert sorted({*taken.seqs, *lost}) == list(range(1, 2001))
    assert len(taken.seqs) + len(lost) == 2000
    assert taken.values == [seq - 1 for seq in taken.seqs]
    assert set(range(first, 2001)) <= set(taken.seqs)


def test_a_disk_that_was_set_back_sends_what_is_new_under_a_new_epoch(
    mosquitto: Broker, tmp_path: Path, receive: Receive
) -> None:
    receiver = receive(mosquitto.port, topics=TOPICS)
    path, copy = tmp_path / "k", tmp_path / "copy"
    with publishing(mosquitto.url, path, "a") as (publisher, _):
        keep(publisher, "a", range(10))
        publisher.drain()
    shutil.copy(path, copy)
    with publishing(mosquitto.url, path, "a") as (publisher, _):
        keep(publisher, "a", range(10, 30))
        publisher.drain()
    shutil.copy(copy, path)
    said: list[str] = []
    with publishing(mosquitto.url, path, "a", warn=said.append) as (publisher, _):
        keep(publisher, "a", range(100, 115))
        publisher.drain()
    before, after = receiver.of("a")
    assert before.values == list(range(30))
    assert (after.seqs, after.values) == (list(range(1, 16)), list(range(100, 115)))
    assert "was set back" in said[0]


def test_a_damaged_file_is_set_aside_and_a_new_epoch_goes_on(
    mosquitto: Broker, tmp_path: Path, receive: Receive
) -> None:
    path = tmp_path / "k"
    receiver = receive(mosquitto.port, topics=TOPICS)
    for number in range(3):
        with publishing(mosquitto.url, path, "a") as (publisher, _):
            keep(publisher, "a", range(number * 10, number * 10 + 10))
            publisher.drain()
        content = bytearray(path.read_bytes())
        for place in random.Random(number).sample(range(4096), 100):
            content[place] ^= 0xFF
        path.write_bytes(content[: 5000 + number])
    assert [taken.values for taken in receiver.of("a")] == [
        list(range(start, start + 10)) for start in (0, 10, 20)
    ]
    assert {file.name for file in tmp_path.glob("k*")} == {"k", "k.corrupt-1", "k.corrupt-2"}


def test_the_first_gateway_that_answers_is_listened_to(
    mosquitto: Broker, tmp_path: Path, receive: Receive
) -> None:
    first = receive(mosquitto.port, topics=TOPICS)
    said: list[str] = []
    with publishing(mosquitto.url, tmp_path / "k", "a", warn=said.append) as (publisher, kept):
        keep(publisher, "a", range(10))
        publisher.drain()
        second = receive(mosquitto.port, topics=TOPICS, name="g2")
        first.go()
        keep(publisher, "a", range(10, 20))
        while not said:
            publisher.serve(0.02)
        assert "gateway g2 answers a as well, which listens to g1; give --gateway g2" in said[0]
        assert kept.rows == 10
    with publishing(mosquitto.url, tmp_path / "k", "a", gateway="g2") as (publisher, _):
        publisher.drain()
    assert [taken.values for taken in first.of("a")] == [list(range(10))]
    assert second.of("a")[-1].values == list(range(10, 20))


def test_a_row_that_no_receiver_takes_is_refused_before_it_is_kept() -> None:
    with pytest.raises(Exception, match=r"expected 0 to .* leave it out, or publish with --no-dur"):
        kept_body(["n"], Row(-1, [1.0]))
    with pytest.raises(Exception, match="expected at most 262144 bytes"):
        kept_body(["n" * 200 + str(n) for n in range(2000)], Row(1, [1.0] * 2000))


def test_another_recording_than_the_interrupted_one_is_an_error(
    mosquitto: Broker, tmp_path: Path
) -> None:
    recording = simulate("pump", duration_s=20, seed=1, asset="a")
    with publishing(mosquitto.url, tmp_path / "k", "a") as (publisher, _):
        for given in list(recording.rows())[:10]:
            publisher.keep("a", kept_body([c.name for c in recording.channels], given))
    for other in (
        simulate("pump", duration_s=20, seed=2, asset="a"),
        simulate("pump", duration_s=5, seed=1, asset="a"),
    ):
        with (
            publishing(mosquitto.url, tmp_path / "k", "a") as (publisher, kept),
            pytest.raises(RecordingError, match="begins with the 10 rows that"),
        ):
            replay_kept([other], publisher=publisher, kept=kept, speed=math.inf)


def test_a_replay_waits_for_room_and_loses_nothing(
    mosquitto: Broker, tmp_path: Path, receive: Receive
) -> None:
    receiver = receive(mosquitto.port, topics=TOPICS)
    recording = simulate("pump", duration_s=3000, seed=1, asset="a")
    with publishing(mosquitto.url, tmp_path / "k", "a", limit_mb=0.4) as (publisher, kept):
        replay_kept([recording], publisher=publisher, kept=kept, speed=math.inf)
        assert kept.sources["a"].dropped == 0
    [taken] = receiver.of("a")
    assert taken.seqs == list(range(1, 3001))


def test_the_hosts_rows_are_each_kept_and_confirmed(
    mosquitto: Broker, tmp_path: Path, receive: Receive
) -> None:
    receiver = receive(mosquitto.port, topics=TOPICS)
    with publishing(mosquitto.url, tmp_path / "k", "me", commit_rows=1) as (publisher, kept):
        keep_host(Host(), publisher=publisher, source="me", period_s=0.02, rows=5)
        assert kept.rows == 0
    [taken] = receiver.of("me")
    assert taken.seqs == [1, 2, 3, 4, 5]


def test_what_the_broker_never_takes_is_an_error(needs_mosquitto: None, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read #\n")
    port = free_port()
    with (
        start_mosquitto(port=port, directory=tmp_path, overrides={"acl_file": str(rules)}) as open_,
        publishing(open_.url, tmp_path / "k", "a", commit_rows=1) as (publisher, kept),
    ):
        publisher.keep("a", row(1))
        with pytest.raises(PublishRefusedError, match=r"test/v1/confirm/a.*Not authorized"):
            publisher.drain()
        assert kept.rows == 1
    closed = {"allow_anonymous": "false"}
    with (
        start_mosquitto(port=port, directory=tmp_path, overrides=closed) as broker,
        publishing(broker.url, tmp_path / "k", "a") as (publisher, _),
        pytest.raises(BrokerUnreachableError, match="Not authorized"),
    ):
        publisher.drain()


def command(*arguments: object) -> subprocess.Popen[str]:
    run = ["-c", "from vedette.commands.sensors import app; app()"]
    return subprocess.Popen(
        [sys.executable, *run, *map(str, arguments), "--root", TOPICS.root, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def simulating(url: str, path: Path) -> subprocess.Popen[str]:
    return command(
        "simulate", "--hours", 2, "--asset", "rig", "--speed", "max", "--durable",
        "--keep", path, "--window", 20, "--broker", url,
    )  # fmt: skip


def test_kill_9_again_and_again_loses_and_doubles_nothing(
    needs_mosquitto: None, tmp_path: Path, receive: Receive
) -> None:
    """The sensor and the forgetful broker are killed in turn, the gateway goes and comes."""
    port, path = free_port(), tmp_path / "k"
    generator = random.Random(9)
    with ExitStack() as stack:
        broker = stack.enter_context(forgetful_broker(port, directory=tmp_path))
        receiver = receive(port, topics=TOPICS)
        for kill in range(4):
            with simulating(broker.url, path) as sensor:
                aim = receiver.count("rig") + generator.randrange(100, 700)
                receiver.wait_for(lambda aim=aim: receiver.count("rig") >= aim)
                if kill % 3 == 1:
                    receiver.subscribed.clear()
                    broker.kill()
                    broker = stack.enter_context(forgetful_broker(port, directory=tmp_path))
                    assert receiver.subscribed.wait(10)
                sensor.kill()
            assert sensor.returncode == -signal.SIGKILL
        with simulating(broker.url, path) as sensor:
            out, said = sensor.communicate(timeout=60)
        assert sensor.returncode == 0, said
        told = json.loads(out)
        assert (told["waiting"], told["dropped"], told["damaged"]) == (0, 0, 0)
        [taken] = receiver.of("rig")
        assert taken.gaps == []
        recording = simulate("pump", duration_s=7200, seed=0, period_s=1.0, asset="rig")
        assert taken.values == [row.values[0] for row in recording.rows()]


def test_a_run_that_was_done_begins_anew_under_a_new_epoch(
    mosquitto: Broker, tmp_path: Path, receive: Receive
) -> None:
    receiver = receive(mosquitto.port, topics=TOPICS)
    for _ in range(2):
        with command(
            "simulate", "--hours", 0.01, "--asset", "rig", "--speed", "max", "--durable",
            "--keep", tmp_path / "k", "--broker", mosquitto.url,
        ) as sensor:  # fmt: skip
            out, said = sensor.communicate(timeout=30)
        assert sensor.returncode == 0, said
        assert json.loads(out)["rows"] == 36
    first, second = receiver.of("rig")
    assert first.values == second.values
    assert first.seqs == list(range(1, 37))


def test_a_second_process_on_the_file_is_told(mosquitto: Broker, tmp_path: Path) -> None:
    arguments = ("host", "--keep", tmp_path / "k", "--broker", mosquitto.url, "--period", "0.05s")
    with KeptReadings(tmp_path / "k"), command(*arguments) as other:
        _, said = other.communicate(timeout=30)
    assert other.returncode == 3
    assert "end the other process or give --keep FILE" in said


def test_ctrl_c_leaves_the_hosts_rows_on_the_disk(
    mosquitto: Broker, tmp_path: Path, receive: Receive
) -> None:
    arguments = ("host", "--keep", tmp_path / "k", "--broker", mosquitto.url, "--source", "me")
    receiver = receive(mosquitto.port, topics=TOPICS)
    with command(*arguments, "--period", "0.02s") as sensor:
        receiver.wait_for(lambda: receiver.count("me") > 5)
        receiver.go()
        sensor.send_signal(signal.SIGINT)
        out, said = sensor.communicate(timeout=30)
    assert sensor.returncode == 0, said
    with KeptReadings(tmp_path / "k") as kept:
        assert json.loads(out)["waiting"] == kept.rows
        assert kept.sources["me"].last >= receiver.count("me") > 5
