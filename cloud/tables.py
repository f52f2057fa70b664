"""Tables of the aggregator (SQLAlchemy Core); times are microseconds since 1970-01-01 UTC."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

__all__ = [
    "alert_events",
    "alerts",
    "blobs",
    "blocks",
    "champions",
    "excerpts",
    "gaps",
    "gateways",
    "ledgers",
    "manifest",
    "metadata",
    "models",
    "rejected",
    "spans",
    "summaries",
]

metadata = MetaData()

gateways = Table(
    "gateways",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("presence", Text, nullable=False),
    Column("status", LargeBinary, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    comment="Newest status of each gateway, as it was sent (JSON).",
)

ledgers = Table(
    "ledgers",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("stored_seq", BigInteger, nullable=False),
    comment="Every message up to stored_seq is stored or told to be lost.",
)

blocks = Table(
    "blocks",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    comment="As spans, one number a row; of databases made before spans, moved there on opening.",
)

spans = Table(
    "spans",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    comment="Stored or lost beyond a hole: first to last, above the ledger's stored_seq.",
)

gaps = Table(
    "gaps",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("lost_epoch", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("readings", BigInteger),
    Column("epoch", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Index("gaps_by_epoch", "gateway", "lost_epoch", "first"),
    comment="Messages that will never come; (epoch, seq) told it, seq 0 = nobody did.",
)

summaries = Table(
    "summaries",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("mean", Double),
    Column("variance", Double),
    Column("low", Double),
    Column("high", Double),
    Column("first", Double),
    Column("last", Double),
    Column("error", Double),
    Column("knot_us", LargeBinary, nullable=False),
    Column("knot_value", LargeBinary, nullable=False),
    Column("sketch", LargeBinary, nullable=False),
    Index("summaries_by_stream", "asset", "channel", "start_us"),
    comment="One summary a row; knots little-endian int64 and float32, sketch uint8.",
)

excerpts = Table(
    "excerpts",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("channels", Text, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("excerpts_by_asset", "asset", "end_us"),
    comment="Full-rate rows as they were sent (wire.blocks); channels is a JSON array.",
)

alerts = Table(
    "alerts",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("alertid", Text, primary_key=True),
    Column("asset", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("event", LargeBinary, nullable=False),
    Index("alerts_by_asset", "asset", "start_us"),
    comment="Newest message of each alert (CloudEvents JSON).",
)

alert_events = Table(
    "alert_events",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("epoch", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("alertid", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("alert_events_by_alert", "gateway", "alertid"),
    comment="Every message of every alert, once (CloudEvents JSON); seq 0 = not numbered.",
)

rejected = Table(
    "rejected",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("received_us", BigInteger, nullable=False),
    Column("topic", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    comment="The newest messages that could not be taken in.",
)

blobs = Table(
    "blobs",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    comment="Model files by digest.",
)

models = Table(
    "models",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("assets", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("withdrawn", Boolean, nullable=False),
    ForeignKeyConstraint(["sha256"], ["blobs.sha256"]),
    comment="Registered versions; rows = rows at hand when trained; withdrawn = not on the broker.",
)

champions = Table(
    "champions",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["models.model", "models.version"]),
    comment="The version in force of each model.",
)

manifest = Table(
    "manifest",
    metadata,
    Column("role", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    comment="Version of each published list of models.",
)
