"""Routes messages to their source rule, once a topic, and collects their readings."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.batch import Batch, Draft
from gateway.decode.generic import JsonRoute
from gateway.decode.own import OwnRoute
from gateway.decode.rules import SourceRule, template_pattern, topic_matches
from gateway.decode.sources import Sources
from gateway.directory import Directory
from gateway.ledger import Ledger
from wire.errors import MessageError, WireError
from wire.topics import check_name, safe_name

__all__ = ["Decoder", "Message", "Quarantined"]

MOST_TOPICS = 1_000_000
QUARANTINE_LENGTH = 256
SHOWN_BYTES = 512


class Message(Protocol):
    """What the decoder needs of an MQTT PUBLISH."""

    @property
    def topic(self) -> str:
        """Topic name."""

    @property
    def payload(self) -> bytes:
        """Application message."""


class Route(Protocol):
    """Decodes the payloads of one topic."""

    def decode(self, payload: bytes, arrival_ms: float, draft: Draft) -> None:
        """Append readings to the draft, or raise MessageError."""


@dataclass(frozen=True, slots=True)
class ControlRoute:
    """Passes a message on as it is: commands and models share the connection with readings."""

    topic: str
    inbox: list[tuple[str, bytes]]

    def decode(self, payload: bytes, arrival_ms: float, draft: Draft) -> None:  # noqa: ARG002 - every route's signature
        """Keep the message for the shell."""
        self.inbox.append((self.topic, payload))


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that could not be decoded."""

    topic: str
    payload: bytes
    """First 512 bytes."""
    reason: str


@dataclass(slots=True)
class Decoder:
    """Step 1 for a whole batch of messages."""

    rules: Sequence[SourceRule]
    directory: Directory
    ledger: Ledger
    control: tuple[str, ...] = ()
    """Topic prefixes whose messages go to `inbox`, undecoded."""
    inbox: list[tuple[str, bytes]] = field(default_factory=list)
    sources: Sources = field(default_factory=Sources)
    quarantine: deque[Quarantined] = field(default_factory=lambda: deque(maxlen=QUARANTINE_LENGTH))
    _routes: dict[str, Route] = field(default_factory=dict)

    def decode(self, messages: Iterable[Message], *, arrival_ms: float) -> Batch:
        """Decode messages in order; what cannot be decoded is counted and quarantined."""
        draft = Draft()
        routes, ledger = self._routes, self.ledger
        for message in messages:
            topic = message.topic
            try:
                route = routes.get(topic) or self._route(topic)
                route.decode(message.payload, arrival_ms, draft)
            except WireError as error:
                self._reject(message, error)
        batch = draft.batch()
        ledger.decoded += batch.asset.size
        ledger.received += batch.value.size
        return batch

    def _route(self, topic: str) -> Route:
        if topic.startswith(self.control):
            return ControlRoute(topic, self.inbox)
        rule = next((rule for rule in self.rules if topic_matches(rule.match, topic)), None)
        if rule is None:
            raise MessageError("no_rule", "expected a [[source]] that matches the topic, got none")
        if len(self._routes) >= MOST_TOPICS:
            raise MessageError("too_many_topics", f"expected at most {MOST_TOPICS} topics")
        route = self._compile(rule, topic)
        self._routes[topic] = route
        return route

    def _compile(self, rule: SourceRule, topic: str) -> Route:
        named = template_pattern(rule.topic).fullmatch(topic) if rule.topic else None
        if rule.topic and named is None:
            raise MessageError("no_rule", f"expected a topic like {rule.topic}, got {topic[:120]}")
        names = named.groupdict() if named else {}
        last = topic.rsplit("/", 1)[-1]
        named_asset = rule.asset or names.get("asset") or last
        if rule.format == "vedette":
            check_name(named_asset, what="source")
        asset = self.directory.asset(_asset_name(named_asset))
        if rule.format == "vedette":
            return OwnRoute(asset, self.directory, self.ledger, self.sources.mark(asset))
        return JsonRoute(rule, asset, names.get("channel", ""), self.directory)

    def _reject(self, message: Message, error: WireError) -> None:
        if not isinstance(error, MessageError):
            error = MessageError("bad_topic", str(error))
        self.ledger.reject(error.reason, error.detail, message.topic)
        self.quarantine.append(
            Quarantined(message.topic, message.payload[:SHOWN_BYTES], str(error))
        )


def _asset_name(text: str) -> str:
    """Make a name for any level of a topic; different levels never become one asset."""
    name = safe_name(text)
    return name if name == text else f"{name[:55]}-{zlib.crc32(text.encode()):08x}"
