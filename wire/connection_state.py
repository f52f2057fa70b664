"""What a session tells about its connection, as frozen values."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Cause", "Connected", "ConnectionState", "Disconnected", "Ending", "FiltersLost"]


class Cause(enum.Enum):
    """Why there is no connection."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    BUSY = "busy"
    CLOSED_BY_BROKER = "closed by broker"
    HUNG_UP = "hung up"
    CONNECTION_LOST = "connection lost"
    PEER_SILENT = "peer silent"
    PROTOCOL_VIOLATION = "protocol violation"
    TAKEN_OVER = "taken over"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Ending:
    """How one attempt or connection ended; `reason_code` is the broker's, where it gave one."""

    cause: Cause
    detail: str
    reason_code: int | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted connection number `connection`; `session_present`: it was resumed."""

    connection: int
    session_present: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """There is no connection; the next attempt starts in `retry_in_s` (None: never)."""

    ending: Ending
    retry_in_s: float | None


@dataclass(frozen=True, slots=True)
class FiltersLost:
    """After a lost session the broker refused to renew these filters (filter, reason code)."""

    refused: tuple[tuple[str, int], ...]


ConnectionState: TypeAlias = Connected | Disconnected | FiltersLost
