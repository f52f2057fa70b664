"""A bare client that sends back what it gets: the two hops that every answer has to make."""

from __future__ import annotations

import argparse
import sys

import mqtt5

from benchmarks.client import LONG_S, Client

__all__ = ["ANSWER", "QUESTION"]

QUESTION = "bench/echo/question"
ANSWER = "bench/echo/answer"


def main() -> None:
    """Echo until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    with Client(parser.parse_args().port, name="echo") as client:
        client.subscribe(QUESTION)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            for packet in client.packets(LONG_S):
                if isinstance(packet, mqtt5.PublishPacket):
                    client.publish(ANSWER, packet.payload)


if __name__ == "__main__":
    main()
