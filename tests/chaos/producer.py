"""A process that takes readings, keeps and sends them, and logs each that was taken.

It may be killed at any time and started again in the same folder: it goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from sensors.encoder import SourceEncoder, kept_body
from sensors.kept import KeptReadings
from sensors.keptpublisher import KeptPublisher
from sensors.publisher import Publisher
from sensors.recording import Row
from tests.chaos.taking import TakenLog, row_line
from tests.chaos.waves import row_values, source_name, time_ms
from wire.topics import Topics

__all__ = ["ENOUGH", "KEPT", "LOG", "main"]

LOG, KEPT, ENOUGH = "produced.jsonl", "kept.sqlite", "enough"
PACE_S = 0.05
"""Rows that fall due within so many seconds are taken at once."""
ROWS_AT_ONCE = 64
FOREIGN_EPOCH = "foreign"


def main() -> int:
    """Take all rows, wait until they are confirmed, and leave with 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True, help="mqtt://host:port")
    parser.add_argument("--folder", type=Path, required=True, help="where log and kept rows are")
    parser.add_argument("--sources", type=int, default=2)
    parser.add_argument("--channels", type=int, default=5)
    parser.add_argument("--rows", type=int, default=400, help="of every source")
    parser.add_argument("--rate", type=float, default=0.0, help="rows a second; 0 = at once")
    parser.add_argument("--rows-per-message", type=int, default=4)
    parser.add_argument("--foreign", type=int, default=0, help="1 = a device that keeps nothing")
    given = parser.parse_args()
    (_take_foreign if given.foreign else _take_kept)(given)
    return 0


def _take_kept(given: argparse.Namespace) -> None:
    folder: Path = given.folder
    log = TakenLog(folder / LOG)
    names = [source_name(index) for index in range(given.sources)]
    with KeptReadings(folder / KEPT, warn=_tell) as kept:
        for name in names:
            kept.open_source(name)
        _log_taken(log, kept, given)
        with KeptPublisher(
            given.broker, kept=kept, topics=Topics(), sources=names,
            rows_per_message=given.rows_per_message, warn=_tell,
        ) as publisher:  # fmt: skip
            for rows in _paced(given, log):
                for index, name in enumerate(names):
                    for row in range(log.count(name) + 1, log.count(name) + rows + 1):
                        publisher.keep(name, _body(index, row, given.channels))
                publisher.commit()
                _log_taken(log, kept, given)
                publisher.serve(_pause_s(given, rows))
            publisher.drain()


def _log_taken(log: TakenLog, kept: KeptReadings, given: argparse.Namespace) -> None:
    """Log what the keep-file has and the log has not: after a crash, and after each commit."""
    lines = []
    for index in range(given.sources):
        name = source_name(index)
        state = kept.sources[name]
        for row in range(log.count(name) + 1, state.taken + 1):
            seq = state.last - (state.taken - row)
            line = row_line((index, name), given.channels, epoch=state.epoch, seq=seq, row=row)
            lines.append(line)
    log.extend(lines)


def _take_foreign(given: argparse.Namespace) -> None:
    """Be a device of somebody else: QoS 1, taken is what the broker acknowledged."""
    log = TakenLog(given.folder / LOG)
    names = [source_name(index) for index in range(given.sources)]
    channels = [f"c{channel}" for channel in range(given.channels)]
    encoders = [SourceEncoder(channels, epoch=FOREIGN_EPOCH) for _ in names]
    with Publisher(given.broker) as publisher:
        for rows in _paced(given, log):
            lines = []
            for index, name in enumerate(names):
                for row in range(log.count(name) + 1, log.count(name) + rows + 1):
                    encoders[index].seq = row - 1
                    values = row_values(index, row, given.channels)
                    payload = encoders[index].encode(Row(time_ms(row) * 1000, [*values.values()]))
                    publisher.publish(Topics().readings(name), payload or b"")
                    lines.append(row_line((index, name), given.channels,
                                          epoch=FOREIGN_EPOCH, seq=row, row=row))  # fmt: skip
            publisher.drain()
            log.extend(lines)
            publisher.serve(_pause_s(given, rows))


def _paced(given: argparse.Namespace, log: TakenLog):  # type: ignore[no-untyped-def] # noqa: ANN202
    """Yield how many rows of each source to take next, until all are or somebody says enough."""
    each_s = given.rate / given.sources
    at_once = max(1, round(each_s * PACE_S)) if given.rate else ROWS_AT_ONCE
    while not (given.folder / ENOUGH).exists():
        left = given.rows - log.count(source_name(0))
        if left <= 0:
            return
        yield min(left, at_once)


def _pause_s(given: argparse.Namespace, rows: int) -> float:
    return rows * given.sources / given.rate if given.rate else 0.0


def _body(index: int, row: int, channels: int) -> bytes:
    values = row_values(index, row, channels)
    return kept_body(list(values), Row(time_ms(row) * 1000, list(values.values())))


def _tell(text: str) -> None:
    sys.stderr.write(f"{time.time():.3f} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
