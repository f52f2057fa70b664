"""Long outages in event time, below the disk cap and over it: what goes is told, class by class."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from gateway.pending import Pending
from tests.storage.outage import Outage
from tests.storage.outcome import Outcome
from tests.storage.uplink import Uplink
from wire.blocks import decode_summaries

__all__ = ["CAP_MB", "run_outage", "run_outages"]

CAP_MB = 256.0
CHECKED_MINUTES = 30
PROMISED = 20
SPARE = 1.05
TOO_LITTLE = 0.6
"""Share of what a restart needs that is no longer enough for anything else."""


def run_outages(folder: Path, count: int, seed: int) -> Outcome:
    """Be without a cloud for `count` hours.

    Below the cap; over one that merging keeps; and over one that not even dropping all keeps.
    """
    outcome = Outcome("cap")
    run_outage(folder / "roomy", outcome, minutes=60 * count, limit_mb=CAP_MB, seed=seed)
    needed = outcome.figures["roomy: bytes of the outbox at the end"]
    small = SPARE * outcome.figures["roomy: bytes that a restart needs"] + needed / 16
    run_outage(folder / "small", outcome, minutes=60 * count, limit_mb=small / 1e6, seed=seed)
    tiny = TOO_LITTLE * outcome.figures["roomy: bytes that a restart needs"]
    run_outage(folder / "tiny", outcome, minutes=60 * count, limit_mb=tiny / 1e6, seed=seed)
    return outcome


def run_outage(folder: Path, outcome: Outcome, *, minutes: int, limit_mb: float, seed: int) -> None:
    """Live through an outage and what comes after it."""
    name = folder.name
    outage = Outage(folder, seed, int(limit_mb * 1e6), promised=PROMISED)
    for minute in outage.live(minutes):
        if minute % CHECKED_MINUTES == 0:
            check_ledger(outcome, outage, f"{name}, minute {minute}")
    for entries in outage.edge.flush():
        outage.add(entries)
    outage.commit()
    tell(outcome, outage, name)
    uplink = Uplink(random.Random(f"line {seed}"))
    uplink.drain(outage)
    check_ledger(outcome, outage, f"{name}, drained")
    check_received(outcome, outage, uplink, name)
    outage.database.close()
    outcome.count += 1


def check_ledger(outcome: Outcome, outage: Outage, where: str) -> None:
    """scored = open + summarised, and summarised = stored + pending + dropped, by the database."""
    ledger, pending = outage.edge.ledger, Pending.of(outage.database)
    outcome.expect(ledger.received == ledger.scored, f"{where}: not everything was scored")
    counted = (outage.pending.count, outage.pending.size_bytes, outage.pending.readings)
    there = (pending.count, pending.size_bytes, pending.readings)
    outcome.expect(counted == there, f"{where}: counted {counted}, there are {there}")
    places = outage.pending.confirmed + pending.readings + ledger.dropped
    outcome.expect(
        ledger.summarised == places,
        f"{where}: {ledger.summarised} readings summarised, {places} stored, pending or dropped",
    )


def tell(outcome: Outcome, outage: Outage, name: str) -> None:
    """Note the figures of the outage, and whether the cap was kept."""
    limit, figures = outage.limit_bytes, outcome.figures
    over = outage.most_used - limit
    outcome.expect(over <= 0 or name == "tiny", f"{name}: {over} bytes beyond the cap")
    figures[f"{name}: cap in bytes"] = limit
    figures[f"{name}: most bytes used"] = outage.most_used
    figures[f"{name}: bytes of the outbox at the end"] = outage.pending.size_bytes
    figures[f"{name}: bytes that a restart needs"] = outage.needed_bytes
    figures[f"{name}: readings"] = outage.edge.ledger.scored
    figures[f"{name}: readings dropped"] = outage.edge.ledger.dropped
    figures[f"{name}: bytes of history the cap took"] = outage.pruned
    for kind, count in outage.made.items():
        figures[f"{name}: {kind} made"] = count
    for reason, count in outage.edge.ledger.lost.items():
        figures[f"{name}: messages told lost, {reason}"] = count


def check_received(outcome: Outcome, outage: Outage, uplink: Uplink, name: str) -> None:
    """Everything is with the cloud, or told to be lost once, and the readings add up."""
    received, epoch = uplink.received, outage.edge.epoch
    kinds = Counter(entry.kind for entry in received.entries.values())
    for kind in ("alerts", "gaps"):
        outcome.expect(
            kinds[kind] == outage.made[kind], f"{name}: {kinds[kind]} of {outage.made} {kind} came"
        )
    told = Counter(received.told(f"{epoch}-bulk"))
    there = {seq for other, seq in received.entries if other == f"{epoch}-bulk"}
    every = set(range(1, outage.edge.lanes["bulk"] + 1))
    outcome.expect(told.keys() | there == every, f"{name}: numbers that nobody tells of")
    outcome.expect(not told.keys() & there, f"{name}: numbers told lost, and there")
    outcome.expect(max(told.values(), default=1) == 1, f"{name}: numbers told lost twice")
    outcome.expect(not received.told(f"{epoch}-urgent"), f"{name}: urgent messages were dropped")
    counted = sum(
        int(decode_summaries(entry.payload).rows.count.sum(dtype="int64"))
        for entry in received.entries.values()
        if entry.kind == "summaries"
    )
    lost = sum(sum(gap.readings) for gap in received.gaps)
    produced = outage.edge.ledger.scored
    outcome.expect(
        counted + lost == produced,
        f"{name}: {produced} readings produced, {counted} came, {lost} told to be lost",
    )
    figures = outcome.figures
    figures[f"{name}: messages sent again"] = uplink.lost
    figures[f"{name}: readings that came"] = counted
    for reason, count in Counter(gap.reason for gap in received.gaps).items():
        figures[f"{name}: gap records, {reason}"] = count
