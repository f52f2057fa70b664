from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import pytest

from vedette.broker import (
    BrokerError,
    find_broker,
    free_port,
    override_options,
    start_embedded,
    start_mosquitto,
)
from wire.mqtt import Endpoint, Session

ROOT = Path(__file__).parents[1]


async def test_the_embedded_broker_keeps_retained_messages_and_sessions(tmp_path: Path) -> None:
    if importlib.util.find_spec("iotcore") is None:
        pytest.skip("iotcore is not installed")
    with start_embedded(port=free_port(), directory=tmp_path) as broker:
        endpoint = Endpoint.from_url(broker.url, client_id="c")
        other = Endpoint.from_url(broker.url, client_id="other")
        async with Session(endpoint) as client:
            await client.publish("kept", b"1", retain=True)
            await client.subscribe("kept")
            batch = await client.receive()
            client.acknowledge(batch)
        async with Session(other) as client:
            await client.publish("kept", b"2")
        async with Session(endpoint) as client:
            again = await client.receive()
            assert client.counters.resumed == 1
    assert [packet.payload for packet in batch.packets] == [b"1"]
    assert [packet.payload for packet in again.packets] == [b"2"]


def test_a_stopped_broker_leaves_its_port_and_no_process(
    needs_mosquitto: None, tmp_path: Path
) -> None:
    port = free_port()
    with start_mosquitto(port=port, directory=tmp_path) as broker:
        assert broker.process.poll() is None
        with socket.create_connection(("127.0.0.1", port), 1):
            pass
    assert broker.process.poll() is not None
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)


def test_a_broker_that_cannot_start_shows_its_last_words(
    needs_mosquitto: None, tmp_path: Path
) -> None:
    with (
        pytest.raises(BrokerError, match="Unknown configuration variable"),
        start_mosquitto(port=free_port(), directory=tmp_path, overrides={"nonsense": "1"}),
    ):
        pass


def test_the_shipped_configuration_is_the_one_at_the_root_and_explains_each_option() -> None:
    config = (ROOT / "mosquitto.conf").read_text()
    assert (ROOT / "vedette" / "mosquitto.conf").read_text() == config
    blocks = [block.splitlines() for block in config.strip().split("\n\n")]
    assert all(block[0].startswith("# ") for block in blocks)
    assert "listener 1883 127.0.0.1" in config.splitlines()


def test_options_are_replaced_in_place_or_added() -> None:
    config = "# why\nlistener 1883\npersistence true\n"
    assert override_options(config, {"listener": "7 ::1", "user": "me"}) == (
        "# why\nlistener 7 ::1\npersistence true\nuser me\n"
    )


def test_mosquitto_is_preferred_where_it_is_installed(needs_mosquitto: None) -> None:
    assert find_broker() is start_mosquitto
