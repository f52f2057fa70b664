"""Each fault of the proxy does to a connection what its name says."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import KINDS, Fault, RunningProxy, fault_schedule, running_proxy


@contextlib.contextmanager
def echo_server() -> Iterator[int]:
    """A server that sends everything back."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server,), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5.0)


def _serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        while data := connection.recv(65_536):
            connection.sendall(data)


@pytest.fixture
def proxy() -> Iterator[RunningProxy]:
    with echo_server() as port, running_proxy(port) as running:
        yield running


@pytest.fixture
def client(proxy: RunningProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.proxy.port), 5.0) as connection:
        connection.settimeout(5.0)
        assert ask(connection, b"hello") == b"hello"
        yield connection


def ask(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    back = b""
    while len(back) < len(data) and (more := connection.recv(65_536)):
        back += more
    return back


def fault(kind: str, *, lasts_s: float = 0.0, upward: bool = True, endless: bool = False) -> Fault:
    return Fault(kind, 0.0, lasts_s, upward, endless)  # type: ignore[arg-type]


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(0.1)
    with contextlib.suppress(TimeoutError):
        return connection.recv(1) is None
    return True


def test_reset_breaks_a_connection_off(proxy: RunningProxy, client: socket.socket) -> None:
    proxy.inflict(fault("reset"))
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_truncate_passes_half_of_what_comes_and_closes(
    proxy: RunningProxy, client: socket.socket
) -> None:
    proxy.inflict(fault("truncate"))
    assert ask(client, b"0123456789") in {b"01234", b""}


@pytest.mark.parametrize("upward", [True, False])
def test_half_open_swallows_one_direction(
    proxy: RunningProxy, client: socket.socket, upward: bool
) -> None:
    proxy.inflict(fault("half_open", upward=upward, endless=True))
    client.sendall(b"lost")
    assert is_silent(client)
    [pair] = proxy.proxy._pairs
    assert (pair.cut_upward, pair.cut_downward) == (upward, not upward)


def test_a_black_hole_says_nothing_and_closes_nothing(
    proxy: RunningProxy, client: socket.socket
) -> None:
    proxy.inflict(fault("black_hole", endless=True))
    client.sendall(b"lost")
    assert is_silent(client)


def test_a_black_hole_that_ends_breaks_the_connection_off(
    proxy: RunningProxy, client: socket.socket
) -> None:
    proxy.inflict(fault("black_hole"))
    with pytest.raises(ConnectionResetError):
        client.recv(1)


@pytest.mark.parametrize("kind", ["delay", "slow"])
def test_delay_and_slow_reading_lose_nothing(
    proxy: RunningProxy, client: socket.socket, kind: str
) -> None:
    data = bytes(range(256)) * 16
    thread = threading.Thread(target=proxy.inflict, args=(fault(kind, lasts_s=0.3),))
    thread.start()
    while not proxy.proxy.happened[kind]:
        time.sleep(0.001)
    assert ask(client, data) == data
    thread.join()


def test_duplicates_are_connections_that_nobody_uses(
    proxy: RunningProxy, client: socket.socket
) -> None:
    proxy.inflict(fault("duplicate"))
    assert ask(client, b"still here") == b"still here"


def test_a_clean_close_is_passed_on(proxy: RunningProxy, client: socket.socket) -> None:
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert client.recv(64) in {b"last words", b""}


def test_a_seed_decides_the_schedule_and_every_kind_comes_soon() -> None:
    schedule = list(fault_schedule(20, 7))
    assert schedule == list(fault_schedule(20, 7)) != list(fault_schedule(20, 8))
    assert {fault.kind for fault in schedule[: len(KINDS)]} == set(KINDS)
    assert len(schedule) == 20
