"""The gateway's TOML file: one frozen section a part, safe defaults, unknown keys refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.decode.rules import SourceRule, template_pattern
from gateway.errors import ConfigError
from wire.errors import TopicError
from wire.topics import DEFAULT_ROOT, Topics, check_name

__all__ = [
    "BrokerSection",
    "Config",
    "ExcerptsSection",
    "GatewaySection",
    "ModelsSection",
    "OutboxSection",
    "SummariesSection",
    "load_config",
    "parse_config",
]

T = TypeVar("T")
Seconds = Annotated[float, Meta(gt=0, le=86_400 * 366)]


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all sections."""


class GatewaySection(Section, frozen=True):
    """`[gateway]`: who this is."""

    id: str = "gateway"
    """Name in topics; equals the certificate's common name where there is one."""
    root: str = DEFAULT_ROOT
    """Topic root."""


class BrokerSection(Section, frozen=True):
    """`[site]` and `[uplink]`: one MQTT 5 broker each."""

    url: str = "mqtt://127.0.0.1:1883"
    """`mqtt://host:port` or `mqtts://host:port`."""
    username: str | None = None
    """User name."""
    password_file: str | None = None
    """File whose first line is the password."""
    ca_file: str | None = None
    """Certificates (PEM) that may sign the broker's."""
    cert_file: str | None = None
    """This gateway's certificate (PEM)."""
    key_file: str | None = None
    """Its key (PEM)."""
    keep_alive_s: Annotated[int, Meta(ge=5, le=3600)] = 20
    """Seconds of silence before a ping."""


class ModelsSection(Section, frozen=True):
    """`[models]`: where models come from."""

    directory: str = "models"
    """Folder of ONNX files; models from the cloud are kept there too. Relative to the file."""
    pushed: Literal["accept", "ignore"] = "accept"
    """Whether models of the cloud are taken."""


class SummariesSection(Section, frozen=True):
    """`[summaries]`: what goes up instead of raw data."""

    period_s: Seconds = 300.0
    """Seconds of event time a summary spans at least."""
    least_readings: Annotated[int, Meta(ge=1, le=4096)] = 240
    """A summary never ends by time before it holds so many rows."""
    most_readings: Annotated[int, Meta(ge=16, le=4096)] = 256
    """A summary ends at so many rows; also the rows kept of every stream."""
    idle_s: Seconds = 30.0
    """Seconds without any input after which open summaries go up."""


class ExcerptsSection(Section, frozen=True):
    """`[excerpts]`: budget of full-rate rows for retraining, in rows of one asset."""

    history_rows: Annotated[int, Meta(ge=0, le=1_000_000)] = 1024
    """First rows, sent whole."""
    sample_every: Annotated[int, Meta(ge=256, le=100_000_000)] = 4096
    """After that one sample each so many rows."""
    sample_rows: Annotated[int, Meta(ge=1, le=256)] = 64
    """Rows of a sample."""


class OutboxSection(Section, frozen=True):
    """`[outbox]`: what waits while the uplink is away."""

    limit_mb: Annotated[float, Meta(gt=0, le=100_000)] = 32.0
    """Megabytes (10^6 bytes) kept in memory; the oldest bulk goes first, alerts last."""


class Config(Section, frozen=True):
    """The whole file."""

    gateway: GatewaySection = GatewaySection()
    site: BrokerSection = BrokerSection()
    uplink: BrokerSection | None = None
    """Broker of the cloud; default: the site's."""
    source: tuple[SourceRule, ...] = ()
    """Ordered rules; default: readings of our own sensors."""
    models: ModelsSection = ModelsSection()
    summaries: SummariesSection = SummariesSection()
    excerpts: ExcerptsSection = ExcerptsSection()
    outbox: OutboxSection = OutboxSection()

    @property
    def topics(self) -> Topics:
        """Topics below the configured root."""
        return Topics(self.gateway.root)

    @property
    def sources(self) -> tuple[SourceRule, ...]:
        """The rules in force."""
        return self.source or (SourceRule(match=self.topics.all_readings()),)


def load_config(path: Path) -> Config:
    """Read a file; raise ConfigError naming the file, the line and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a readable TOML file: {error}") from None
    return parse_config(text, name=str(path))


def parse_config(text: str, *, name: str) -> Config:
    """Parse the text of a file called `name`; raise ConfigError as `load_config` does."""
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}:{_line_of(text, str(error))}: {error}") from None
    _check(config, text, name)
    return config


def _check(config: Config, text: str, name: str) -> None:
    try:
        check_name(config.gateway.id, what="gateway.id")
        Topics(config.gateway.root)
    except TopicError as error:
        raise ConfigError(f"{name}:{_find(text, 'gateway', 0, None)}: {error}") from None
    if config.summaries.least_readings > config.summaries.most_readings:
        line = _find(text, "summaries", 0, "least_readings")
        raise ConfigError(f"{name}:{line}: least_readings: expected at most most_readings")
    for index, rule in enumerate(config.source):
        if rule.topic and not template_pattern(rule.topic).groupindex and not rule.asset:
            line = _find(text, "source", index, "topic")
            raise ConfigError(f"{name}:{line}: topic: expected {{asset}} in {rule.topic!r}")


def _line_of(text: str, message: str) -> int:
    """Line of the key that a msgspec message names by its path (`$.source[1].time`)."""
    path = re.search(r"`\$([^`]*)`", message)
    unknown = re.search(r"unknown field `([^`]+)`", message)
    steps = re.findall(r"\.(\w+)(?:\[(\d+)\])?", path.group(1) if path else "")
    section = ".".join(step for step, _ in steps[:1])
    index = int(steps[0][1]) if steps and steps[0][1] else 0
    key = unknown.group(1) if unknown else (steps[1][0] if len(steps) > 1 else None)
    return _find(text, section, index, key)


def _find(text: str, section: str, index: int, key: str | None) -> int:
    """1-based line of `key` in the index-th `[section]`; of the section, or 1, if not found."""
    seen, inside, best = -1, not section, 1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?", line)
        if header:
            starts = header.group(1) == section
            if not starts and not section and header.group(1) == key:
                return number
            seen += starts
            inside = header.group(1).split(".")[0] == section and seen == index
            best = number if starts and seen == index else best
        elif inside and key and re.match(rf'\s*"?{re.escape(key)}"?\s*=', line):
            return number
    return best
