"""Turns a change of an episode into the messages that tell of it."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta

from gateway.directory import Directory
from gateway.episodes import Change
from wire.messages import Alert, AlertChannel, AlertEvent, AssetState

__all__ = ["alert_event", "alert_id", "asset_state"]

TOP_CHANNELS = 3
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def alert_id(gateway: str, asset: str, start_us: int) -> str:
    """Identity of an alert, the same from open to close and in every replay."""
    key = f"{gateway}/{asset}/{start_us}".encode()
    return hashlib.blake2b(key, digest_size=8).hexdigest()


def alert_event(gateway: str, change: Change, directory: Directory) -> AlertEvent:
    """Build the message of an episode's change."""
    episode = change.episode
    asset = directory.assets[episode.asset]
    identity = alert_id(gateway, asset, episode.start_us)
    channels = _top_channels(change, directory)
    return AlertEvent(
        id=f"{identity}-{change.phase}-{episode.last_us}",
        source=f"vedette/{gateway}",
        time=_rfc3339(episode.last_us),
        alertid=identity,
        subject=asset,
        data=Alert(
            gateway=gateway,
            asset=asset,
            state=change.phase,
            severity=episode.severity,
            start_ms=episode.start_us / 1000,
            peak_ms=episode.peak.time_us / 1000,
            last_ms=episode.last_us / 1000,
            end_ms=episode.end_us / 1000 if change.phase == "closed" else None,
            rows=episode.rows,
            score=_short(episode.peak.score),
            p=_short(10.0**-episode.peak.surprise),
            threshold_p=episode.threshold_p,
            model=episode.peak.model,
            channels=channels,
            text=_sentence(change, asset, channels),
        ),
    )


def asset_state(gateway: str, change: Change, directory: Directory) -> AssetState:
    """Build the retained state that holds after the change."""
    episode = change.episode
    asset = directory.assets[episode.asset]
    closed = change.phase == "closed"
    return AssetState(
        asset=asset,
        state="ok" if closed else "alerting",
        since_ms=(episode.last_us if closed else episode.start_us) / 1000,
        alerts=() if closed else (alert_id(gateway, asset, episode.start_us),),
    )


def _top_channels(change: Change, directory: Directory) -> tuple[AlertChannel, ...]:
    peak = change.episode.peak
    position = {stream: i for i, stream in enumerate(directory.streams_of[change.episode.asset])}
    observed = [
        (score, value, position[stream])
        for stream, value, score in zip(peak.streams, peak.values, peak.scores, strict=True)
        if not math.isnan(score)
    ]
    observed.sort(key=lambda part: (-part[0], part[2]))
    return tuple(
        AlertChannel(
            name=directory.channels[change.episode.asset][at],
            unit=directory.units[change.episode.asset][at],
            value=_short(value),
            score=_short(score),
        )
        for score, value, at in observed[:TOP_CHANNELS]
    )


def _sentence(change: Change, asset: str, channels: tuple[AlertChannel, ...]) -> str:
    if change.phase == "closed":
        seconds = max(change.episode.end_us - change.episode.start_us, 0) / 1e6
        return f"{asset}: back to normal after {seconds:.0f} s."
    if not channels:
        return f"{asset}: unusual."
    first = channels[0]
    unit = f" {first.unit}" if first.unit else ""
    return f"{asset}: {first.name} is unusual at {first.value:g}{unit}."


def _rfc3339(time_us: int) -> str:
    moment = EPOCH + timedelta(microseconds=time_us)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _short(number: float) -> float:
    return float(f"{number:.6g}")
