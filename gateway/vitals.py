"""The status message: where every reading is, what waits, how the storage does."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.committer import Committer
from gateway.drain import Drain
from gateway.edge import Edge
from gateway.footprint import resident_mb
from gateway.lane import Lane
from gateway.outbox import Entry
from gateway.pending import Pending
from gateway.retention import Retention
from wire.codec import encode_json
from wire.messages import Count, GatewayStatus
from wire.version import VERSION

__all__ = ["Vitals"]


@dataclass(frozen=True, slots=True)
class Vitals:
    """The parts of a running gateway that its status tells of."""

    edge: Edge
    committer: Committer
    pending: Pending
    retention: Retention
    drain: Drain
    lanes: Sequence[Lane]

    def entry(
        self, presence: Literal["online", "offline"], *, uptime_s: float, faults: Iterable[str]
    ) -> Entry:
        """Return the retained status as it is now."""
        edge = self.edge
        directory = edge.pipeline.directory
        free = self.retention.limit_bytes - self.retention.used_bytes
        status = GatewayStatus(
            gateway=edge.gateway,
            presence=presence,
            version=VERSION,
            epoch=edge.epoch,
            time_ms=round(time.time() * 1000),
            uptime_s=uptime_s,
            assets=directory.asset_count,
            streams=directory.stream_count,
            readings=edge.ledger.readings(),
            messages={"decoded": edge.ledger.decoded, "quarantined": edge.ledger.quarantined},
            rejected=dict(sorted(edge.ledger.rejected.items())),
            last_rejection=edge.ledger.last_rejection,
            models=edge.model_status(),
            refused_models=tuple(edge.shelf.refused),
            ledger=edge.ledger.summary(pending=self._pending_readings),
            gaps=dict(sorted(edge.ledger.lost.items())),
            outbox=self._outbox(),
            pending_age_s=self.pending.age_s(time.time()),
            room_h=self.pending.room_h(free),
            storage=self._storage(),
            faults=tuple(faults),
            bytes_up=dict(self.drain.sent_bytes + self.lanes[-1].outbox.sent_bytes),
            rss_mb=round(resident_mb(), 1),
        )
        topic = edge.topics.gateway(edge.gateway, "status")
        return Entry("status", topic, encode_json(status), retain=True)

    @property
    def _pending_readings(self) -> int:
        """Readings in summaries that wait, those included that are on their way to the disk."""
        return self.pending.readings + self.committer.uncommitted_readings

    def _outbox(self) -> dict[str, Count]:
        return {
            "count": self.pending.count,
            "bytes": self.pending.size_bytes,
            "readings": self._pending_readings,
            "refused": self.drain.refused + sum(lane.refused for lane in self.lanes),
        }

    def _storage(self) -> dict[str, Count]:
        return {
            "used": self.retention.used_bytes,
            "limit": self.retention.limit_bytes,
            "journal": self.committer.database.journal_bytes,
            "full": int(self.committer.full),
        }
