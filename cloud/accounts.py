"""What became of the messages and readings of each gateway, as the database tells it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from cloud.tables import gaps, gateways, ledgers, spans, summaries

__all__ = ["NOT_LOST", "GapAccount", "GatewayAccount", "LedgerAccount", "read_accounts"]

NOT_LOST = frozenset({"merged", "unmarked"})
"""Reason of gaps whose readings live on, in the coarser summary that took their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerAccount:
    """Messages (counts) of one numbering. Up to `stored_seq` each is stored or lost."""

    epoch: str
    stored_seq: int
    stored: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GapAccount:
    """What was lost for one reason, of one source or, where `source` is empty, of the gateway.

    `messages` and `readings` are counts; readings of a gap that does not tell them count as 0.
    """

    epoch: str
    source: str
    reason: str
    messages: int
    readings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAccount:
    """Everything of one gateway."""

    gateway: str
    ledgers: tuple[LedgerAccount, ...]
    gaps: tuple[GapAccount, ...]
    readings_in_summaries: int
    """Count of readings that summaries stand for, without the missing ones."""
    missing_in_summaries: int
    """Count of readings that summaries know to be missing."""

    @property
    def readings_in_gaps(self) -> int:
        """Count of readings that will never come, but merged ones and what nobody can tell of."""
        return sum(gap.readings for gap in self.gaps if gap.reason not in NOT_LOST)


def read_accounts(connection: Connection) -> list[GatewayAccount]:
    """Return the account of every gateway that anything is known of, by name."""
    lost = _gaps(connection)
    numbered = _ledgers(connection, lost)
    readings = _readings(connection)
    present = connection.scalars(select(gateways.c.gateway)).all()
    return [
        GatewayAccount(
            gateway=gateway,
            ledgers=tuple(numbered[gateway]),
            gaps=tuple(lost[gateway]),
            readings_in_summaries=readings[gateway][0],
            missing_in_summaries=readings[gateway][1],
        )
        for gateway in sorted({*present, *numbered, *lost, *readings})
    ]


def _gaps(connection: Connection) -> defaultdict[str, list[GapAccount]]:
    group = (gaps.c.gateway, gaps.c.lost_epoch, gaps.c.source, gaps.c.reason)
    messages = func.sum(gaps.c.last - gaps.c.first + 1)
    query = select(*group, messages, func.sum(gaps.c.readings)).group_by(*group).order_by(*group)
    found: defaultdict[str, list[GapAccount]] = defaultdict(list)
    for gateway, epoch, source, reason, count, readings in connection.execute(query):
        found[gateway].append(
            GapAccount(
                epoch=epoch,
                source=source,
                reason=reason,
                messages=int(count),
                readings=int(readings or 0),
            )
        )
    return found


def _ledgers(
    connection: Connection, lost: defaultdict[str, list[GapAccount]]
) -> defaultdict[str, list[LedgerAccount]]:
    beyond = _beyond(connection)
    query = select(ledgers).order_by(ledgers.c.gateway, ledgers.c.epoch)
    found: defaultdict[str, list[LedgerAccount]] = defaultdict(list)
    for gateway, epoch, stored_seq in connection.execute(query):
        missed = _lost_of(epoch, lost[gateway])
        taken = stored_seq + beyond.get((gateway, epoch), 0)
        account = LedgerAccount(
            epoch=epoch, stored_seq=stored_seq, stored=taken - missed, lost=missed
        )
        found[gateway].append(account)
    return found


def _lost_of(epoch: str, accounts: Iterable[GapAccount]) -> int:
    return sum(gap.messages for gap in accounts if gap.epoch == epoch and not gap.source)


def _beyond(connection: Connection) -> dict[tuple[str, str], int]:
    count = func.sum(spans.c.last - spans.c.first + 1)
    query = select(spans.c.gateway, spans.c.epoch, count).group_by(spans.c.gateway, spans.c.epoch)
    return {(gateway, epoch): int(total) for gateway, epoch, total in connection.execute(query)}


def _readings(connection: Connection) -> defaultdict[str, tuple[int, int]]:
    group = summaries.c.gateway
    query = select(group, func.sum(summaries.c["count"]), func.sum(summaries.c.missing))
    found: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for gateway, count, missing in connection.execute(query.group_by(group)):
        found[gateway] = int(count), int(missing)
    return found
