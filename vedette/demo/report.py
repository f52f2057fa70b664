"""The demo's result as one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sensors.recording import Recording
from sensors.replay import ReplayCounts
from vedette.demo.watch import Watch
from vedette.labels import judge
from wire.messages import GatewayStatus

__all__ = ["report"]


def report(
    counts: ReplayCounts,
    watch: Watch,
    recordings: Sequence[Recording],
    published_s: dict[tuple[str, float], float],
) -> dict[str, Any]:
    """Return what was published, scored, found and sent; the gateway must have said goodbye."""
    status = watch.status
    if status is None:
        raise RuntimeError("expected a status of the gateway, got none")
    latencies = watch.latencies_ms(published_s)
    return {
        "readings_published": counts.readings,
        "readings_scored": status.readings.get("scored", 0),
        "alerts": judge([event for _, event in watch.alerts], recordings),
        "model_before": _model(status, "bundled"),
        "model_after": _model(status, "champion"),
        "bytes_raw": counts.payload_bytes,
        "bytes_up": status.bytes_up.get("alerts", 0) + status.bytes_up.get("summaries", 0),
        "bytes_excerpts": status.bytes_up.get("excerpts", 0),
        "latency_ms": {"p50": _quantile(latencies, 0.5), "p99": _quantile(latencies, 0.99)},
        "rss_mb": watch.online.rss_mb if watch.online else None,
    }


def _model(status: GatewayStatus, role: str) -> dict[str, Any] | None:
    found = [model for model in status.models if model.role == role]
    if not found:
        return None
    best = max(found, key=lambda model: model.scored)
    return {"id": best.id, "version": best.version, "scored": best.scored}


def _quantile(rising: list[float], level: float) -> float | None:
    if not rising:
        return None
    return round(rising[min(len(rising) - 1, int(level * len(rising)))], 2)
