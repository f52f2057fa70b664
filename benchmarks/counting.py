"""Subscribers that only count, each in a process of its own: what the gateway is compared with.

Prints `ready` once subscribed and `done` after the last message, then waits for its end.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from wire.mqtt import Endpoint, Session

__all__ = ["COUNTERS"]

HOST = "127.0.0.1"
FILTER = "vedette/v1/readings/+"
LINGER_S = 0.002


def count_by_session(port: int, count: int) -> None:
    """Receive, count and acknowledge with the bare session: nothing can be cheaper here."""
    asyncio.run(session_loop(port, count))


async def session_loop(port: int, count: int) -> None:
    """Take batches as the gateway does."""
    endpoint = Endpoint(host=HOST, port=port, client_id="count-session", session_expiry_s=0)
    async with Session(endpoint) as session:
        await session.subscribe(FILTER)
        tell("ready")
        while count > 0:
            inbound = await session.receive(linger_s=LINGER_S)
            count -= len(inbound.packets)
            session.acknowledge(inbound)
        tell("done")


def count_by_paho(port: int, count: int) -> None:
    """Count in paho's callback, one a message."""
    left = [count]
    done = threading.Event()

    def on_connect(client: paho.Client, *_: object) -> None:
        client.subscribe(FILTER, qos=1)

    def on_message(*_: object) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    client = paho.Client(CallbackAPIVersion.VERSION2, "count-paho", protocol=paho.MQTTv5)
    client.on_connect = on_connect
    client.on_message = on_message
    client.on_subscribe = lambda *_: tell("ready")
    client.connect(HOST, port)
    client.loop_start()
    done.wait()
    tell("done")
    client.loop_stop()


def count_by_aiomqtt(port: int, count: int) -> None:
    """Count in aiomqtt's `async for`."""
    asyncio.run(aiomqtt_loop(port, count))


async def aiomqtt_loop(port: int, count: int) -> None:
    """Count messages as its documentation shows."""
    client: Any = aiomqtt.Client(HOST, port, identifier="count-aiomqtt")
    async with client:
        await client.subscribe(FILTER, qos=1)
        tell("ready")
        async for _ in client.messages:
            count -= 1
            if not count:
                break
        tell("done")


COUNTERS: dict[str, Callable[[int, int], None]] = {
    "session": count_by_session,
    "paho": count_by_paho,
    "aiomqtt": count_by_aiomqtt,
}


def tell(word: str) -> None:
    """Say a word to the process that measures this one."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counter", choices=COUNTERS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    given = parser.parse_args()
    COUNTERS[given.counter](given.port, given.count)


if __name__ == "__main__":
    main()
