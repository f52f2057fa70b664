"""The cloud's half of the confirmations and nothing else: takes messages in order, answers.

Stores nothing, so that it is the gateway whose speed is measured. Runs until ended.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import mqtt5
import msgspec
import zstandard

from benchmarks.client import Client
from wire.codec import decode_json, encode_json
from wire.messages import ConfirmRequest, StoredMessage
from wire.topics import GatewayKind, Topics

WAIT_S = 3600.0
KINDS: tuple[GatewayKind, ...] = ("alerts", "gaps", "summaries", "excerpts", "confirm")


class Numbered(msgspec.Struct, frozen=True):
    """What all messages have that go up for keeps; other fields are passed over."""

    epoch: str
    seq: int


def main() -> None:
    """Take in and answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    stored = Counter[str]()
    with Client(parser.parse_args().port, name="confirmer") as client:
        for kind in KINDS:
            client.subscribe(Topics().all_gateways(kind))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            for packet in client.packets(WAIT_S):
                if isinstance(packet, mqtt5.PublishPacket):
                    take(client, stored, packet)


def take(client: Client, stored: Counter[str], packet: mqtt5.PublishPacket) -> None:
    """Count a message that is the next of its epoch; answer a request."""
    payload = bytes(packet.payload)
    if packet.topic.endswith("/confirm"):
        answer(client, stored, decode_json(payload, ConfirmRequest))
        return
    message = numbered(packet.topic, payload)
    if message.seq == stored[message.epoch] + 1:
        stored[message.epoch] = message.seq


def answer(client: Client, stored: Counter[str], request: ConfirmRequest) -> None:
    """Tell up to where everything has come; what the gateway no longer has is given up."""
    seq = stored[request.epoch] = max(stored[request.epoch], request.first - 1)
    told = StoredMessage(gateway=request.sender, epoch=request.epoch, seq=seq, asked=request.last)
    client.publish(Topics().gateway(request.sender, "cmd", "stored"), encode_json(told))


def numbered(topic: str, payload: bytes) -> Numbered:
    """Read epoch and number of a message."""
    if topic.rsplit("/", 1)[1] in {"summaries", "excerpts"}:
        body = zstandard.ZstdDecompressor().decompress(payload)
        return msgspec.msgpack.decode(body, type=Numbered)
    return msgspec.json.decode(payload, type=Numbered)


if __name__ == "__main__":
    main()
