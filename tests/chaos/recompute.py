"""Computes, in one undisturbed run of the gateway's pipeline, the alerts of logged readings."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from gateway.config import choose_config
from gateway.edge import settings_of
from sensors.recording import Channel, Chunk, Recording, recording_of
from tests.chaos.produced import GapRange, SourceRows, read_log
from vedette.backtest import backtest, open_pipeline
from wire.codec import encode_json


def main() -> int:
    """Print one alert message a line, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--config", type=Path, help="the gateway's TOML file")
    parser.add_argument("--lost", default="[]", help="JSON array of source, epoch, first, last")
    given = parser.parse_args()
    lost = [GapRange(**gap) for gap in json.loads(given.lost)]
    config = choose_config(given.config)
    for source, rows in read_log(*given.logs).sources.items():
        gaps = [gap for gap in lost if gap.source == source]
        pipeline = open_pipeline(config.gateway.id, None, settings_of(config))
        for event in backtest([_recording(source, rows, gaps)], pipeline).alerts:
            sys.stdout.write(encode_json(event).decode() + "\n")
    return 0


def _recording(source: str, rows: SourceRows, lost: list[GapRange]) -> Recording:
    kept = ~rows.covered(lost)
    return recording_of(
        Chunk(rows.times_us[kept], rows.values[kept]),
        asset=source,
        channels=tuple(Channel(name) for name in rows.channels),
        origin="producers' log",
    )


if __name__ == "__main__":
    sys.exit(main())
