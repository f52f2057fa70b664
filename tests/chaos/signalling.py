"""Proves that alerts tell of the produced readings what they must, each once and in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.stored import Event, Stored

__all__ = ["Signals", "check_signals"]

PHASES = {"opened": {""}, "updated": {"opened", "updated"}, "closed": {"opened", "updated"}}
"""State of a message -> states that may precede it in its alert."""


@dataclass(slots=True)
class Signals:
    """Alert messages, counted."""

    expected: int
    got: int
    missing: int = 0
    extra: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    findings: list[str] = field(default_factory=list)


def check_signals(stored: Stored, expected: list[dict[str, Any]], *, is_over: bool) -> Signals:
    """Compare stored alert messages with those of a computation that nothing disturbed."""
    result = Signals(len(expected), len(stored.events))
    _check_once(result, stored.events)
    _check_newest(result, stored)
    if is_over:
        _check_numbers(result, stored)
        _check_phases(result, stored.events)
    _compare(result, stored.events, expected, is_over=is_over)
    return result


def _check_once(result: Signals, events: list[Event]) -> None:
    for identity, times in Counter(event.body["id"] for event in events).items():
        if times > 1:
            result.duplicated += times - 1
            result.findings.append(f"alert message {identity}: stored {times} times")
    for event in events:
        if (event.body["epoch"], event.body["seq"]) != (event.epoch, event.seq):
            result.findings.append(f"alert message {event.body['id']}: its number is another's")


def _check_numbers(result: Signals, stored: Stored) -> None:
    """Alerts and gap records share one numbering, without holes from 1 on."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for event in stored.events:
        numbers.setdefault((event.gateway, event.epoch), []).append(event.seq)
    for gateway, epoch, seq in {(gap.gateway, gap.epoch, gap.seq) for gap in stored.gaps}:
        if seq:
            numbers.setdefault((gateway, epoch), []).append(seq)
    for key, seqs in numbers.items():
        told = {
            seq
            for gap in stored.gaps
            if not gap.source and gap.lost_epoch == key[1]
            for seq in range(gap.first, gap.last + 1)
        }
        result.findings += _faults(key, seqs, told, stored.ledgers.get(key))


def _faults(
    key: tuple[str, str], seqs: list[int], told: set[int], ledger: int | None
) -> Iterable[str]:
    name = f"urgent messages of {key[0]}, epoch {key[1]}"
    twice = sorted(seq for seq, times in Counter(seqs).items() if times > 1)
    if twice:
        yield f"{name}: {twice[:5]} are there more than once"
    holes = sorted(set(range(1, max(seqs) + 1)) - set(seqs) - told)
    if holes:
        yield f"{name}: {holes[:5]} are missing"
    if ledger is not None and ledger > max({*seqs, *told}):
        yield f"{name}: said to be stored up to {ledger}, the last there is {max(seqs)}"


def _check_phases(result: Signals, events: list[Event]) -> None:
    """By number, the messages of an alert must open, go on, and close; time must not go back."""
    before: dict[str, tuple[str, float]] = {}
    ordered = sorted(events, key=lambda event: (event.gateway, event.epoch, event.seq))
    for event in ordered:
        alert, data = event.body["alertid"], event.body["data"]
        state, last_ms = before.get(alert, ("", 0.0))
        if state not in PHASES[data["state"]] or data["last_ms"] < last_ms:
            result.out_of_order += 1
            result.findings.append(f"alert {alert}: {data['state']} follows {state or 'nothing'}")
        before[alert] = data["state"], data["last_ms"]


def _check_newest(result: Signals, stored: Stored) -> None:
    final: dict[tuple[str, str], tuple[float, str]] = {}
    for event in stored.events:
        data = event.body["data"]
        key = event.gateway, event.body["alertid"]
        final[key] = max(final.get(key, (0.0, "")), (data["last_ms"], data["state"]))
    if {key: state for key, (_, state) in final.items()} != stored.newest:
        result.findings.append("the newest messages of alerts are not those of their last events")


def _compare(
    result: Signals, events: list[Event], expected: list[dict[str, Any]], *, is_over: bool
) -> None:
    wanted = {body["id"]: _bare(body) for body in expected}
    got = {event.body["id"]: _bare(event.body) for event in events}
    extra = got.keys() - wanted.keys()
    missing = wanted.keys() - got.keys() if is_over else set()
    result.extra, result.missing = len(extra), len(missing)
    result.findings += [f"alert message {name}: nothing calls for it" for name in sorted(extra)]
    result.findings += [f"alert message {name}: is missing" for name in sorted(missing)]
    result.findings += [
        f"alert message {name}: differs from what the readings call for"
        for name in sorted(wanted.keys() & got.keys())
        if wanted[name] != got[name]
    ]


def _bare(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in {"epoch", "seq"}}
