from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.catalogue import open_recordings
from sensors.errors import BrokerUnreachableError, RecordingError, SubscriptionRefusedError
from sensors.publisher import Publisher
from sensors.recorded import read_messages, recorded
from sensors.recorder import Recorder, RecordingFile
from sensors.replay import replay, replay_messages
from sensors.simulate.faults import parse_fault
from sensors.simulate.simulation import simulate
from vedette.broker import Broker, free_port, start_mosquitto
from wire.topics import Topics

TOPICS = Topics("test/v1")


def record(
    broker: Broker, path: Path, *, topic_filter: str, messages: int, act: Callable[[], None]
) -> None:
    with (
        closing(RecordingFile(path)) as file,
        Recorder(broker.url, topic_filter=topic_filter, file=file) as recorder,
    ):
        act()
        while file.messages < messages:
            recorder.serve(5)


def test_recorded_readings_are_the_replayed_recordings(mosquitto: Broker, tmp_path: Path) -> None:
    pump = simulate("pump", duration_s=500, seed=1, faults=[parse_fault("gap@100s")])
    compressor = simulate("compressor", duration_s=500, seed=2)

    def publish() -> None:
        with Publisher(mosquitto.url) as publisher:
            replay(
                [pump, compressor],
                publisher=publisher,
                topics=TOPICS,
                epoch="e",
                speed=math.inf,
                rows_per_message=10,
            )

    path = tmp_path / "run.jsonl"
    record(mosquitto, path, topic_filter=TOPICS.all_readings(), messages=100, act=publish)
    back = {recording.asset: recording for recording in open_recordings(path)}
    assert set(back) == {"pump-1", "compressor-2"}
    for recording in (pump, compressor):
        mine = back[recording.asset]
        assert [c.name for c in mine.channels] == [c.name for c in recording.channels]
        np.testing.assert_array_equal(mine.whole().t_us, recording.whole().t_us)
        np.testing.assert_array_equal(mine.whole().values, recording.whole().values)


def test_foreign_messages_are_recorded_and_published_again(
    mosquitto: Broker, tmp_path: Path
) -> None:
    sent = [
        ("plant/a", b'{"v":1.5}'),
        ("plant/b", b"\x00\xff"),
        ("plant/a", b""),
        ("plant/c", b"7"),
    ]

    def publish() -> None:
        with Publisher(mosquitto.url) as publisher:
            for topic, payload in sent:
                publisher.publish(topic, payload)

    def publish_again() -> None:
        with Publisher(mosquitto.url) as publisher:
            messages = read_messages(tmp_path / "one.jsonl")
            assert replay_messages(messages, publisher=publisher, speed=math.inf) == 4

    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for path, act in zip(files, (publish, publish_again), strict=True):
        record(mosquitto, path, topic_filter="plant/#", messages=4, act=act)
        assert [(m.topic, m.payload_bytes()) for m in read_messages(path)] == sent
    with pytest.raises(RecordingError, match=r"--verbatim"):
        open_recordings(files[0])


def test_recording_goes_on_after_a_broker_restart(needs_mosquitto: None, tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "run.jsonl"
    with ExitStack() as stack:
        first = stack.enter_context(start_mosquitto(port=port, directory=tmp_path))
        file = stack.enter_context(closing(RecordingFile(path)))
        recorder = stack.enter_context(Recorder(first.url, topic_filter="x", file=file))
        with Publisher(first.url) as publisher:
            publisher.publish("x", b"1")
        while file.messages < 1:
            recorder.serve(5)
        first.stop()
        second = stack.enter_context(start_mosquitto(port=port, directory=tmp_path))
        with Publisher(second.url) as publisher:
            publisher.publish("x", b"2")
        while file.messages < 2:
            recorder.serve(5)
    assert [m.payload_bytes() for m in read_messages(path)] == [b"1", b"2"]


def test_a_message_that_could_not_be_written_comes_again(mosquitto: Broker, tmp_path: Path) -> None:
    def recorder(file: RecordingFile) -> Recorder:
        return Recorder(mosquitto.url, topic_filter="x", file=file, client_id="me")

    with closing(RecordingFile(Path("/dev/full"))) as full, recorder(full) as failing:
        with Publisher(mosquitto.url) as publisher:
            publisher.publish("x", b"1")
        with pytest.raises(RecordingError, match="No space left"):
            wait_for_message(failing)
    with closing(RecordingFile(tmp_path / "a.jsonl")) as file, recorder(file) as working:
        wait_for_message(working)
    assert [m.payload_bytes() for m in read_messages(tmp_path / "a.jsonl")] == [b"1"]


def wait_for_message(recorder: Recorder) -> None:
    while recorder.serve(5) == 0:
        pass


def test_a_torn_line_is_cut_off_and_what_came_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    whole = recorded("a", payload=b"1", arrived_ms=5.0)
    with closing(RecordingFile(path)) as file:
        file.append([whole])
    kept = path.read_bytes()
    path.write_bytes(kept + b'{"topic":"a","arr' + b"x" * 200_000)
    with closing(RecordingFile(path)) as file:
        file.append([whole])
        assert file.messages == 1
    assert path.read_bytes() == kept * 2


def test_redelivered_rows_are_read_once(tmp_path: Path) -> None:
    payload = b'{"id":["e",1],"t":1000,"values":{"x":1.0}}'
    message = recorded("r/readings/a", payload=payload, arrived_ms=1.0)
    with closing(RecordingFile(tmp_path / "a.jsonl")) as file:
        file.append([message, message])
    [recording] = open_recordings(tmp_path / "a.jsonl")
    assert recording.row_count == 1


@given(payload=st.one_of(st.binary(), st.recursive(
    st.none() | st.booleans() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**63 - 1),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_any_payload_comes_back(payload: bytes) -> None:
    message = recorded("t", payload=payload, arrived_ms=1.0)
    back = message.payload_bytes()
    assert back == payload or json.loads(back) == json.loads(payload)


@pytest.mark.parametrize(
    "line",
    [
        b'{"topic":"a","arrived_ms":"x"}',
        b'{"topic":1,"arrived_ms":2}',
        b'{"topic":"a","arrived_ms":2,"payload_base64":"?"}',
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"topic":"a","arrived_ms":1,"payload":2}\n' + line + b"\n")
    with pytest.raises(RecordingError, match="line 2: expected a recorded message"):
        list(read_messages(path))


def test_a_refused_filter_and_a_missing_broker_are_errors(
    needs_mosquitto: None, tmp_path: Path
) -> None:
    with closing(RecordingFile(tmp_path / "a.jsonl")) as file:
        options = {"allow_anonymous": "false"}
        with (
            start_mosquitto(port=free_port(), directory=tmp_path, overrides=options) as broker,
            pytest.raises(SubscriptionRefusedError, match="Not authorized"),
        ):
            Recorder(broker.url, topic_filter="x", file=file).__enter__()
        with pytest.raises(BrokerUnreachableError, match="start it or give --broker"):
            Recorder(f"mqtt://127.0.0.1:{free_port()}", topic_filter="x", file=file).__enter__()
