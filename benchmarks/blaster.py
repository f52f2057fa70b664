"""Publishes a load at QoS 1 from a process of its own: as fast as the broker takes it, or paced.

Ends with one JSON line: how many messages the broker acknowledged, in how many seconds.
"""

from __future__ import annotations

import argparse
import json
import time

import mqtt5

from benchmarks.client import LONG_S, Client
from benchmarks.load import Load

__all__ = ["blast"]

WINDOW = 4000
CHUNK = 500
PACED_CHUNKS_PER_S = 500


def blast(port: int, load: Load, *, first: int, count: int, rate: float) -> tuple[float, float]:
    """Publish messages first..first+count-1, `rate` a second (0: no limit).

    Returns the moment it began, on the monotonic clock, and the seconds it took.
    """
    chunk = CHUNK if not rate else max(int(rate / PACED_CHUNKS_PER_S), 1)
    with Client(port, name=f"blaster-{load.prefix}") as client:
        started = time.monotonic()
        unanswered = 0
        for start in range(first, first + count, chunk):
            messages = range(start, min(start + chunk, first + count))
            data = b"".join([load.packet(message) for message in messages])
            if rate:
                time.sleep(max(started + (start - first) / rate - time.monotonic(), 0.0))
            client.send(data)
            unanswered += len(messages)
            unanswered -= answers(client, 0.0)
            while unanswered > WINDOW:
                unanswered -= answers(client, LONG_S)
        while unanswered:
            unanswered -= answers(client, LONG_S)
        return started, time.monotonic() - started


def answers(client: Client, timeout_s: float) -> int:
    """Count the PUBACKs of one read."""
    packets = client.packets(timeout_s)
    if timeout_s and not packets:
        raise TimeoutError(f"expected a PUBACK within {timeout_s} s, got nothing")
    return sum(isinstance(packet, mqtt5.PubAckPacket) for packet in packets)


def main() -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("port", "assets", "channels", "first", "count"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second; 0: no limit")
    given = parser.parse_args()
    load = Load(given.assets, given.channels)
    began, seconds = blast(given.port, load, first=given.first, count=given.count, rate=given.rate)
    print(json.dumps({"messages": given.count, "began": began, "seconds": seconds}))


if __name__ == "__main__":
    main()
