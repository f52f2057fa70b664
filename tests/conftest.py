"""Fixtures that start real brokers, each on a free port with its files in the test's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vedette.broker import (
    Broker,
    BrokerError,
    find_broker,
    find_mosquitto,
    free_port,
    start_mosquitto,
)


@pytest.fixture
def broker_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "broker"
    directory.mkdir()
    return directory


@pytest.fixture
def broker(broker_directory: Path) -> Iterator[Broker]:
    """Mosquitto, or the embedded broker where mosquitto is missing."""
    try:
        launch = find_broker()
    except BrokerError as error:
        pytest.skip(str(error))
    with launch(port=free_port(), directory=broker_directory) as running:
        yield running


@pytest.fixture
def needs_mosquitto() -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")


@pytest.fixture
def mosquitto(needs_mosquitto: None, broker_directory: Path) -> Iterator[Broker]:
    with start_mosquitto(port=free_port(), directory=broker_directory) as running:
        yield running
