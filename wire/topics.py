"""The topic grammar of version 1: the one place where topics are built and parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from wire.errors import TopicError

__all__ = [
    "DEFAULT_ROOT",
    "GATEWAY_KINDS",
    "MANIFEST_ROLE",
    "MAX_CHUNK",
    "NAME",
    "NAME_PATTERN",
    "BlobTopic",
    "ConfirmTopic",
    "GatewayKind",
    "GatewayTopic",
    "MetaTopic",
    "ReadingsTopic",
    "Topic",
    "Topics",
    "check_name",
    "safe_name",
]

DEFAULT_ROOT = "vedette/v1"
MAX_ROOT_BYTES = 256
MAX_CHUNK = 9_999_999
MANIFEST_ROLE = "targets"
"""Role of the list of the models in force."""
NAME_PATTERN = r"^(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}\Z"
"""A name in a topic or message; `.` and `..` are none, so that a name is safe as a file name."""

NAME = re.compile(NAME_PATTERN)
SHA256 = re.compile(r"[0-9a-f]{64}")
CHUNK = re.compile(r"0|[1-9][0-9]{0,6}")
FORBIDDEN_IN_ROOT = re.compile(r"[+#\x00-\x1f\x7f-\x9f\ud800-\udfff]|//|^[/$]|/\Z")

GatewayKind = Literal[
    "alerts", "state", "summaries", "excerpts", "gaps", "status", "cmd", "confirm", "confirmed"
]
GATEWAY_KINDS: tuple[GatewayKind, ...] = (
    "alerts",
    "state",
    "summaries",
    "excerpts",
    "gaps",
    "status",
    "cmd",
    "confirm",
    "confirmed",
)
WITH_TAIL = frozenset({"alerts", "state", "cmd", "confirmed"})


@dataclass(frozen=True, slots=True)
class ReadingsTopic:
    """`<root>/readings/<source>`: readings of our own sensors."""

    source: str


@dataclass(frozen=True, slots=True)
class ConfirmTopic:
    """`<root>/confirm/<source>`: a source asks what is stored of its readings."""

    source: str


@dataclass(frozen=True, slots=True)
class GatewayTopic:
    """`<root>/gw/<gateway>/<kind>[/<tail>]`.

    The tail is an asset (alerts, state), a verb (cmd) or a source (confirmed).
    """

    gateway: str
    kind: GatewayKind
    tail: str | None


@dataclass(frozen=True, slots=True)
class MetaTopic:
    """`<root>/models/meta/<role>`: which models there are."""

    role: str


@dataclass(frozen=True, slots=True)
class BlobTopic:
    """`<root>/models/blob/<sha256>/<n>`: chunk n, counted from 0, of one file."""

    sha256: str
    chunk: int


Topic: TypeAlias = ReadingsTopic | ConfirmTopic | GatewayTopic | MetaTopic | BlobTopic


def check_name(name: str, *, what: str) -> str:
    """Return `name` if it may stand in a topic; raise TopicError naming `what` otherwise."""
    if not NAME.match(name):
        raise TopicError(
            f"{what}: expected 1 to 64 of A-Z a-z 0-9 . _ - (not '.' or '..'), got {name[:80]!r}"
        )
    return name


def safe_name(text: str) -> str:
    """Turn any text into a name that may stand in a topic (other characters become `-`)."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")[:64].strip("-")
    return name if NAME.match(name) else "unnamed"


@dataclass(frozen=True, slots=True)
class Topics:
    """Builds and parses the topics below one root."""

    root: str = DEFAULT_ROOT

    def __post_init__(self) -> None:
        if not self.root or FORBIDDEN_IN_ROOT.search(self.root):
            raise TopicError(
                "root: expected levels that are not empty, without + # or control characters, "
                f"the first not starting with $, got {self.root[:120]!r}"
            )
        if len(self.root.encode()) > MAX_ROOT_BYTES:
            raise TopicError(
                f"root: expected at most {MAX_ROOT_BYTES} bytes, got {len(self.root.encode())}"
            )

    def readings(self, source: str) -> str:
        """Topic on which our own sensors publish the readings of `source`."""
        return f"{self.root}/readings/{check_name(source, what='source')}"

    def confirm(self, source: str) -> str:
        """Topic on which `source` asks what is stored of its readings."""
        return f"{self.root}/confirm/{check_name(source, what='source')}"

    def gateway(self, gateway: str, kind: GatewayKind, tail: str | None = None) -> str:
        """Topic of one gateway; alerts, state, cmd and confirmed take a tail, the others none."""
        _check_tail(kind, tail)
        base = f"{self.root}/gw/{check_name(gateway, what='gateway')}/{kind}"
        return base if tail is None else f"{base}/{check_name(tail, what=kind)}"

    def meta(self, role: str) -> str:
        """Retained topic of the model metadata of `role`."""
        return f"{self.root}/models/meta/{check_name(role, what='role')}"

    def blob(self, sha256: str, chunk: int) -> str:
        """Retained topic of one chunk of the file with this digest."""
        if not SHA256.fullmatch(sha256) or not 0 <= chunk <= MAX_CHUNK:
            raise TopicError(
                f"blob: expected 64 of 0-9 a-f and 0 <= n <= {MAX_CHUNK}, "
                f"got {sha256[:80]!r}, {chunk}"
            )
        return f"{self.root}/models/blob/{sha256}/{chunk}"

    def all_readings(self) -> str:
        """Filter that matches the readings of every source."""
        return f"{self.root}/readings/+"

    def all_confirms(self) -> str:
        """Filter that matches what every source asks."""
        return f"{self.root}/confirm/+"

    def confirmations(self, source: str) -> str:
        """Filter that matches what any gateway confirms to one source."""
        return f"{self.root}/gw/+/confirmed/{check_name(source, what='source')}"

    def all_gateways(self, kind: GatewayKind) -> str:
        """Filter that matches `kind` of every gateway."""
        _check_kind(kind)
        return f"{self.root}/gw/+/{kind}" + ("/+" if kind in WITH_TAIL else "")

    def commands(self, gateway: str) -> str:
        """Filter that matches every command to one gateway."""
        return f"{self.root}/gw/{check_name(gateway, what='gateway')}/cmd/+"

    def blob_chunks(self, sha256: str) -> str:
        """Filter that matches every chunk of one file."""
        return f"{self.blob(sha256, 0).removesuffix('/0')}/+"

    def parse(self, topic: str) -> Topic:
        """Return what `topic` addresses; raise TopicError when it is none of ours."""
        if not topic.startswith(self.root + "/"):
            raise TopicError(f"expected a topic below {self.root}/, got {topic[:120]!r}")
        match topic[len(self.root) + 1 :].split("/"):
            case ["readings", source]:
                return ReadingsTopic(check_name(source, what="source"))
            case ["confirm", source]:
                return ConfirmTopic(check_name(source, what="source"))
            case ["gw", gateway, kind, *tail] if kind in GATEWAY_KINDS and len(tail) <= 1:
                return _gateway_topic(gateway, kind, tail[0] if tail else None)
            case ["models", "meta", role]:
                return MetaTopic(check_name(role, what="role"))
            case ["models", "blob", sha256, chunk] if SHA256.fullmatch(sha256) and CHUNK.fullmatch(
                chunk
            ):
                return BlobTopic(sha256, int(chunk))
        raise TopicError(f"expected a topic of version 1 (docs/protocol.md), got {topic[:120]!r}")


def _gateway_topic(gateway: str, kind: GatewayKind, tail: str | None) -> GatewayTopic:
    _check_tail(kind, tail)
    last = None if tail is None else check_name(tail, what=kind)
    return GatewayTopic(check_name(gateway, what="gateway"), kind, last)


def _check_kind(kind: str) -> None:
    if kind not in GATEWAY_KINDS:
        raise TopicError(f"kind: expected one of {', '.join(GATEWAY_KINDS)}, got {kind[:80]!r}")


def _check_tail(kind: str, tail: str | None) -> None:
    _check_kind(kind)
    if (tail is not None) != (kind in WITH_TAIL):
        wanted = "a level" if kind in WITH_TAIL else "nothing"
        got = "nothing" if tail is None else repr(tail[:80])
        raise TopicError(f"{kind}: expected {wanted} behind it, got {got}")
