"""JSON messages of version 1. Each field states its unit; times are event time unless said."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from wire.topics import NAME_PATTERN

__all__ = [
    "CHUNK_BYTES",
    "MAX_EVENT_MS",
    "READINGS_DECODER",
    "Alert",
    "AlertChannel",
    "AlertEvent",
    "AssetState",
    "ConfirmRequest",
    "ConfirmedMessage",
    "Count",
    "Epoch",
    "GapMessage",
    "GatewayStatus",
    "ModelManifest",
    "ModelRef",
    "ModelStatus",
    "ModelTarget",
    "Name",
    "ReadingMessage",
    "Seq",
    "StoredMessage",
    "Text",
]

CHUNK_BYTES = 48 * 1024
MAX_EVENT_MS = 7_258_118_400_000.0  # the year 2200

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Text = Annotated[str, Meta(min_length=1, max_length=256)]
Epoch = Annotated[str, Meta(min_length=1, max_length=64)]
Seq = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
EventMs = Annotated[float, Meta(ge=0, le=MAX_EVENT_MS)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Severity = Literal["warning", "critical"]


class ReadingMessage(Struct, frozen=True, gc=False, omit_defaults=True):
    """One or more channels of one source at one time; a payload is one of these or an array."""

    id: tuple[Epoch, Seq]
    """Identity: the source's epoch (text) and sequence number (count, from 1, no holes)."""
    t: float
    """Milliseconds since 1970-01-01 UTC up to the year 2200, integer or decimal."""
    values: dict[Text, float | None]
    """Channel name to value in the channel's own unit; null = observed as missing."""
    kept: bool = False
    """Whether the source keeps the message until a gateway confirms that it is stored."""


class ModelRef(Struct, frozen=True):
    """Names the model that made a score."""

    id: Name
    """Name of the model."""
    version: Count
    """Version number; higher is newer."""


class AlertChannel(Struct, frozen=True, omit_defaults=True):
    """One channel's part in an alert."""

    name: Text
    """Channel name."""
    value: float
    """Value at the peak, in `unit`."""
    score: float
    """The channel's own score at the peak (no unit, higher = more anomalous)."""
    unit: str = ""
    """Unit of `value`; empty when unknown."""


class Alert(Struct, frozen=True, kw_only=True):
    """An episode of one asset, as far as it is known when the alert is sent."""

    gateway: Name
    """Gateway that raised it."""
    asset: Name
    """Asset it is about."""
    state: Literal["opened", "updated", "closed"]
    """Phase of the episode."""
    severity: Severity
    """How far beyond the threshold the peak lies."""
    start_ms: EventMs
    """First anomalous reading: milliseconds since 1970-01-01 UTC."""
    peak_ms: EventMs
    """Reading with the highest score: milliseconds since 1970-01-01 UTC."""
    last_ms: EventMs
    """Reading that caused this message: milliseconds since 1970-01-01 UTC."""
    end_ms: EventMs | None = None
    """Last anomalous reading once closed: milliseconds since 1970-01-01 UTC."""
    rows: Count
    """Count of anomalous time stamps so far."""
    score: float
    """Score at the peak (no unit, higher = more anomalous)."""
    p: Probability
    """Probability of such a score in normal operation, 0 to 1, at the peak."""
    threshold_p: Probability
    """Probability below which a time stamp counts as anomalous, 0 to 1."""
    model: ModelRef
    """Model that scored the peak."""
    channels: Annotated[tuple[AlertChannel, ...], Meta(max_length=3)]
    """The channels that contributed most, largest score first, at most 3."""
    text: str
    """One plain sentence for people."""


class AlertEvent(Struct, frozen=True, kw_only=True):
    """CloudEvents 1.0 envelope (JSON, structured mode) of an alert."""

    id: Text
    """Unique a message: `alertid` and what tells its messages apart."""
    source: Text
    """`vedette/<gateway>`."""
    time: Text
    """RFC 3339 time of `data.last_ms`."""
    data: Alert
    """The alert."""
    alertid: Text
    """Stable from open to close (CloudEvents extension)."""
    subject: Name
    """Asset."""
    epoch: str = ""
    """Epoch of the gateway's urgent messages (CloudEvents extension); empty in a backtest."""
    seq: Count = 0
    """Sequence number among them (CloudEvents extension), from 1, no holes; 0 in a backtest."""
    type: Literal["vedette.alert.v1"] = "vedette.alert.v1"
    """Message type with its version."""
    specversion: Literal["1.0"] = "1.0"
    """Version of CloudEvents."""
    datacontenttype: Literal["application/json"] = "application/json"
    """Content type of `data`."""


class AssetState(Struct, frozen=True, kw_only=True):
    """Retained: what one asset's state is now."""

    v: Literal[1] = 1
    """Message version."""
    asset: Name
    """Asset."""
    state: Literal["ok", "alerting"]
    """Whether an episode is open."""
    since_ms: EventMs
    """Milliseconds since 1970-01-01 UTC at which this state began."""
    alerts: tuple[Text, ...]
    """`alertid` of each open alert."""


class ModelStatus(Struct, frozen=True, kw_only=True):
    """One model on a gateway."""

    id: Name
    """Name."""
    version: Count
    """Version number."""
    sha256: Sha256
    """Digest of the ONNX file."""
    role: Literal["bundled", "champion"]
    """Where it came from."""
    assets: Count
    """Count of assets it scores now."""
    scored: Count
    """Count of readings it has scored."""


class GatewayStatus(Struct, frozen=True, kw_only=True):
    """Retained: presence and ledger of one gateway; the will says `offline`."""

    v: Literal[1] = 1
    """Message version."""
    gateway: Name
    """Gateway."""
    presence: Literal["online", "offline"]
    """Whether the gateway is connected."""
    version: str = ""
    """Software version."""
    epoch: str = ""
    """Epoch of the gateway's own messages."""
    time_ms: EventMs = 0.0
    """Wall clock when sent: milliseconds since 1970-01-01 UTC."""
    uptime_s: float = 0.0
    """Seconds since the gateway started."""
    assets: Count = 0
    """Count of assets seen."""
    streams: Count = 0
    """Count of streams (channels of assets) seen."""
    readings: dict[str, Count] = {}
    """Counts: received, scored, missing, duplicate, out_of_range, backward, skipped, early."""
    messages: dict[str, Count] = {}
    """Counts: decoded, quarantined."""
    rejected: dict[str, Count] = {}
    """Quarantined messages and readings by reason, counts."""
    last_rejection: str = ""
    """Newest reason with its topic, in words."""
    models: tuple[ModelStatus, ...] = ()
    """Models that serve."""
    refused_models: tuple[str, ...] = ()
    """Newest refusals, each `name: reason`."""
    ledger: dict[str, Count] = {}
    """Readings: scored = open + summarised, summarised = stored + pending + dropped."""
    gaps: dict[str, Count] = {}
    """Count of sequence numbers reported as lost, by reason."""
    outbox: dict[str, Count] = {}
    """Count, bytes and readings that no cloud has confirmed; refused by the broker since start."""
    pending_age_s: float = 0.0
    """Seconds since the oldest of them was made."""
    room_h: float | None = None
    """Hours until the disk cap at the rate of the last minutes; null = it does not grow."""
    storage: dict[str, Count] = {}
    """Bytes: used, limit, journal; 1 for `full` while the disk takes nothing."""
    faults: tuple[str, ...] = ()
    """Newest faults of storage and connections, in words; at most 8."""
    bytes_up: dict[str, Count] = {}
    """Payload bytes sent upstream since start, by kind."""
    rss_mb: float = 0.0
    """Resident memory, megabytes (10^6 bytes)."""


class StoredMessage(Struct, frozen=True, kw_only=True):
    """Command `stored`: the cloud holds this gateway's messages up to (epoch, seq)."""

    v: Literal[1] = 1
    """Message version."""
    gateway: Name
    """Gateway whose messages they are."""
    epoch: Epoch
    """Epoch of these messages."""
    seq: Count
    """Highest sequence number up to which everything is stored."""
    asked: Count = 0
    """`last` of the request answered (0 = told unasked): what lies between must come again."""


class ConfirmRequest(Struct, frozen=True, kw_only=True):
    """Asks up to where messages are stored: a source asks its gateway, a gateway the cloud."""

    v: Literal[1] = 1
    """Message version."""
    sender: Name
    """Source or gateway whose messages they are."""
    epoch: Epoch
    """Epoch of these messages."""
    first: Seq
    """Lowest sequence number that the sender still holds: none below it will come again."""
    last: Count
    """Highest sequence number sent before this request; 0 = none was."""


class ConfirmedMessage(Struct, frozen=True, kw_only=True):
    """The gateway holds this source's messages up to (epoch, seq) on its disk."""

    v: Literal[1] = 1
    """Message version."""
    gateway: Name
    """Gateway that holds them."""
    source: Name
    """Source whose messages they are."""
    epoch: Epoch
    """Epoch of these messages."""
    seq: Count
    """Highest sequence number up to which everything is stored."""
    asked: Count
    """`last` of the request that this answers: what lies between `seq` and it must come again."""


class GapMessage(Struct, frozen=True, kw_only=True):
    """Messages or readings that will never come, and why: nothing is lost in silence."""

    v: Literal[1] = 1
    """Message version."""
    gateway: Name
    """Gateway that reports it."""
    epoch: Epoch
    """Epoch of the gateway's urgent messages."""
    seq: Seq
    """Sequence number of this message among them."""
    reason: Literal["cap", "merged", "corrupt", "source", "unmarked", "too_large"]
    """Disk cap, merged, damage, lost by the source, at most these (no mark of it), too large."""
    source: str = ""
    """Source whose readings are lost; empty when messages of the gateway itself are."""
    lost_epoch: Epoch
    """Epoch of what is lost: the source's, or that of the gateway's messages."""
    first: Seq
    """First sequence number that is lost."""
    last: Seq
    """Last sequence number that is lost."""
    readings: Annotated[tuple[Count, ...], Meta(max_length=4096)] = ()
    """Of lost summaries: count of readings of each sequence number, in order; else empty."""
    kind: str = ""
    """Kind of the lost messages (`summaries`, `excerpts`, ...) where it is known."""


class ModelTarget(Struct, frozen=True, kw_only=True):
    """One model file that gateways may fetch."""

    id: Name
    """Name of the model."""
    version: Count
    """Version number; a gateway never goes back to a lower one by itself."""
    sha256: Sha256
    """Digest of the file."""
    size_bytes: Annotated[int, Meta(ge=1, le=16 * 1024 * 1024)]
    """Length of the file."""
    chunks: Annotated[int, Meta(ge=1)]
    """Count of chunks: 48 KiB each, the last one what is left."""

    def __post_init__(self) -> None:
        expected = math.ceil(self.size_bytes / CHUNK_BYTES)
        if self.chunks != expected:
            raise ValueError(
                f"expected {expected} chunks for {self.size_bytes} bytes, got {self.chunks}"
            )


class ModelManifest(Struct, frozen=True, kw_only=True):
    """Retained on `models/meta/targets`: the models in force."""

    v: Literal[1] = 1
    """Message version."""
    version: Count
    """Version of this list; a lower one than seen is ignored."""
    targets: Annotated[tuple[ModelTarget, ...], Meta(max_length=1024)]
    """Models, at most one a name."""

    def __post_init__(self) -> None:
        names = [target.id for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError(f"expected one target a name, got {sorted(names)}")


READINGS_DECODER = msgspec.json.Decoder(ReadingMessage | list[ReadingMessage])
