"""A TCP proxy that behaves as bad networks do, by a schedule that a seed decides."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

__all__ = ["KINDS", "Fault", "Proxy", "fault_schedule", "running_proxy"]

Kind: TypeAlias = Literal[
    "delay", "reset", "half_open", "truncate", "black_hole", "slow", "duplicate"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
CHUNK = 65_536
SLOW_BYTES = 512
SLOW_PAUSE_S = 0.005
RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with every connection there is."""

    kind: Kind
    after_s: float
    """Pause before it begins, seconds."""
    lasts_s: float
    """How long it lasts, seconds; `reset`, `truncate` and `duplicate` happen at once."""
    upward: bool
    """For `half_open` and `truncate`: whether what clients send is concerned, or the answers."""
    is_endless: bool = False
    """For `half_open` and `black_hole`: only the clients' own patience ends it."""


def fault_schedule(
    count: int, seed: int, *, longest_s: float = 0.4, endless_share: float = 0.0
) -> Iterator[Fault]:
    """Yield so many faults; every kind comes before any comes again."""
    dice = random.Random(seed)
    while count > 0:
        kinds = list(KINDS)
        dice.shuffle(kinds)
        for kind in kinds[:count]:
            pause_s, lasts_s = dice.uniform(0.05, longest_s), dice.uniform(0.02, longest_s)
            upward, is_endless = dice.random() < 0.5, dice.random() < endless_share
            yield Fault(kind, pause_s, lasts_s, upward, is_endless)
        count -= len(kinds)


@dataclass(eq=False)
class _Pair:
    """A client's connection and the one to the target that belongs to it."""

    client: asyncio.StreamWriter
    target: asyncio.StreamWriter
    cut_upward: bool = False
    cut_downward: bool = False
    truncate_upward: bool = False
    truncate_downward: bool = False

    def reset(self) -> None:
        """Break both off with RST: nothing that was written last is sure to arrive."""
        for writer in (self.client, self.target):
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


@dataclass
class Proxy:
    """Forwards a port of loopback to another. Its methods are called in its loop's thread."""

    target_port: int
    port: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    _pairs: set[_Pair] = field(default_factory=set)
    _unused: list[asyncio.StreamWriter] = field(default_factory=list)
    _delay_s: float = 0.0
    _is_slow: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, stop: asyncio.Event, ready: threading.Event) -> None:
        """Listen until told to stop."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        self._reset(list(self._pairs))
        for writer in self._unused:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports close in a later round of the loop

    async def inflict(self, fault: Fault) -> None:
        """Let one fault happen, from its pause to its end."""
        await asyncio.sleep(fault.after_s)
        self.happened[fault.kind] += 1
        match fault.kind:
            case "delay":
                self._delay_s = fault.lasts_s / 10
                await asyncio.sleep(fault.lasts_s)
                self._delay_s = 0.0
            case "slow":
                self._is_slow = True
                await asyncio.sleep(fault.lasts_s)
                self._is_slow = False
            case "reset":
                self._reset(list(self._pairs))
            case "truncate":
                for pair in self._pairs:
                    pair.truncate_upward |= fault.upward
                    pair.truncate_downward |= not fault.upward
            case "half_open":
                await self._swallow(fault, up=fault.upward, down=not fault.upward)
            case "black_hole":
                await self._swallow(fault, up=True, down=True)
            case "duplicate":
                await self._connect_again()

    async def _swallow(self, fault: Fault, *, up: bool, down: bool) -> None:
        """Forward nothing more on the connections there are; what was swallowed never comes.

        Unless it is endless they break off, as a router that comes back resets what it forgot.
        """
        struck = list(self._pairs)
        for pair in struck:
            pair.cut_upward |= up
            pair.cut_downward |= down
        await asyncio.sleep(fault.lasts_s)
        if not fault.is_endless:
            self._reset(struck)

    async def _connect_again(self) -> None:
        """Open connections that nobody uses beside those there are; they break off later."""
        for _ in range(len(self._pairs)):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.target_port)
                self._unused.append(writer)
                asyncio.get_running_loop().call_later(0.2, writer.transport.abort)

    def _reset(self, pairs: list[_Pair]) -> None:
        for pair in pairs:
            pair.reset()

    async def _connect(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            back, target = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            client.transport.abort()
            return
        pair = _Pair(client, target)
        self._pairs.add(pair)
        for pump in (self._pump(pair, reader, upward=True), self._pump(pair, back, upward=False)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, pair: _Pair, reader: asyncio.StreamReader, *, upward: bool) -> None:
        writer = pair.target if upward else pair.client
        with contextlib.suppress(OSError):
            while data := await reader.read(SLOW_BYTES if self._is_slow else CHUNK):
                if self._is_slow or self._delay_s:
                    await asyncio.sleep(SLOW_PAUSE_S if self._is_slow else self._delay_s)
                if pair.cut_upward if upward else pair.cut_downward:
                    continue
                if pair.truncate_upward if upward else pair.truncate_downward:
                    writer.write(data[: max(len(data) // 2, 1)])
                    await asyncio.sleep(0)
                    break
                writer.write(data)
                await writer.drain()
        if not (pair.cut_upward or pair.cut_downward):
            self._pairs.discard(pair)
            pair.client.close()
            pair.target.close()


@dataclass
class RunningProxy:
    """A proxy in a thread of its own."""

    proxy: Proxy
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"mqtt://127.0.0.1:{self.proxy.port}"

    def inflict(self, fault: Fault) -> None:
        """Let a fault happen and wait until it is over."""
        asyncio.run_coroutine_threadsafe(self.proxy.inflict(fault), self.loop).result(60.0)


@contextlib.contextmanager
def running_proxy(target_port: int) -> Iterator[RunningProxy]:
    """Forward to the target for as long as the context lasts."""
    proxy, ready = Proxy(target_port), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(proxy.serve(stop, ready),), name="proxy"
    )
    thread.start()
    try:
        assert ready.wait(10.0)
        yield RunningProxy(proxy, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10.0)
        loop.close()
