"""The gateway's TOML file: one frozen section a part, safe defaults, unknown keys refused."""

from __future__ import annotations

import functools
import pathlib
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.decode.rules import SourceRule, rule_faults
from gateway.errors import ConfigError
from gateway.keylines import KeyLines, Path
from wire.endpoint import Endpoint
from wire.errors import WireError
from wire.topics import DEFAULT_ROOT, Topics, check_name

__all__ = [
    "BrokerSection",
    "Config",
    "ExcerptsSection",
    "GatewaySection",
    "ModelsSection",
    "OutboxSection",
    "StorageSection",
    "SummariesSection",
    "choose_config",
    "load_config",
    "parse_config",
    "read_password",
]

T = TypeVar("T")
Seconds = Annotated[float, Meta(ge=0.001, le=86_400 * 366)]


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
    least_rows: Annotated[int, Meta(ge=1, le=4096)] = 240
    """A summary never ends by time before it holds so many rows."""
    most_rows: Annotated[int, Meta(ge=16, le=4096)] = 256
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
    assets_at_once: Annotated[int, Meta(ge=1, le=1_000_000)] = 128
    """Assets whose first rows go up at the same time; the others wait for their turn."""


class OutboxSection(Section, frozen=True):
    """`[outbox]`: what waits in memory for a broker: states, and alerts for the site's own."""

    limit_mb: Annotated[float, Meta(gt=0, le=100_000)] = 32.0
    """Megabytes (10^6 bytes); the oldest states go first, alerts last."""


class StorageSection(Section, frozen=True):
    """`[storage]`: what is kept on the disk, so that no crash and no outage loses it."""

    directory: str = "data"
    """Folder of the database. Relative to the file."""
    limit_mb: Annotated[float, Meta(ge=1, le=1_000_000)] = 256.0
    """Megabytes (10^6 bytes) at most; then raw history goes first, then excerpts, then detail."""
    journal_mb: Annotated[float, Meta(ge=0, le=1_000_000)] = 64.0
    """Megabytes of raw history at most, beyond what a restart needs."""
    commit_ms: Annotated[int, Meta(ge=1, le=10_000)] = 50
    """Milliseconds of input in one commit at most; longer spares flash, and holds answers back."""
    ballast_mb: Annotated[float, Meta(ge=0, le=1_000)] = 4.0
    """Megabytes held back so that a full disk can still be cleaned."""


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
    storage: StorageSection = StorageSection()

    @property
    def topics(self) -> Topics:
        """Topics below the configured root."""
        return Topics(self.gateway.root)

    @property
    def sources(self) -> tuple[SourceRule, ...]:
        """The rules in force."""
        return self.source or (SourceRule(match=self.topics.all_readings()),)


def load_config(path: pathlib.Path) -> Config:
    """Read a file; raise ConfigError naming the file, the line and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a readable TOML file: {error}") from None
    return parse_config(text, name=str(path))


def choose_config(
    path: pathlib.Path | None, *, gateway: str | None = None, broker: str | None = None
) -> Config:
    """Read a file, or take the defaults; a given id and site URL replace theirs.

    Raises ConfigError.
    """
    config = Config() if path is None else load_config(path)
    replaced = msgspec.structs.replace
    if gateway is not None:
        config = replaced(config, gateway=replaced(config.gateway, id=gateway))
    if broker is not None:
        config = replaced(config, site=replaced(config.site, url=broker))
    for key, fault in _faults(config):
        raise ConfigError(f"{'.'.join(map(str, key))}: {fault}")
    return config


def parse_config(text: str, *, name: str) -> Config:
    """Parse the text of a file called `name`; raise ConfigError as `load_config` does."""
    lines = KeyLines(text)
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}:{lines.find(_path_of(str(error)))}: {error}") from None
    for path, fault in _faults(config):
        key = ".".join(map(str, path))
        raise ConfigError(f"{name}:{lines.find(path)}: {key}: {fault}")
    return config


def read_password(section: BrokerSection, *, folder: pathlib.Path) -> str | None:
    """Read the first line of the password file, relative to `folder`; None where none is named.

    Raises ConfigError when there is no such line.
    """
    if section.password_file is None:
        return None
    path = folder / section.password_file
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"password_file: expected a readable file {path}: {error}") from None
    if not lines:
        raise ConfigError(f"password_file: expected a line of text in {path}, got an empty file")
    return lines[0]


def _path_of(message: str) -> Path:
    """Path of the key that a msgspec message names (`$.source[1].time`)."""
    place = re.search(r"`\$([^`]*)`", message)
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", place.group(1) if place else "")
    unknown = re.search(r"unknown field `([^`]+)`", message)
    path: Path = tuple(name or int(index) for name, index in steps)
    return (*path, unknown.group(1)) if unknown else path


def _faults(config: Config) -> Iterator[tuple[Path, str]]:
    """What no type can say, each with the path of its key."""
    yield from _refused(("gateway", "id"), lambda: check_name(config.gateway.id, what="name"))
    yield from _refused(("gateway", "root"), lambda: Topics(config.gateway.root))
    for part, broker in (("site", config.site), ("uplink", config.uplink)):
        if broker is not None:
            yield from _refused((part, "url"), functools.partial(_endpoint, broker.url))
    if config.summaries.least_rows > config.summaries.most_rows:
        yield ("summaries", "least_rows"), "expected at most most_rows"
    if config.excerpts.sample_rows > config.summaries.most_rows:
        yield ("excerpts", "sample_rows"), "expected at most summaries.most_rows"
    for index, rule in enumerate(config.source):
        for key, fault in rule_faults(rule):
            yield ("source", index, *key), fault


def _endpoint(url: str) -> Endpoint:
    return Endpoint.from_url(url, client_id="check")


def _refused(path: Path, attempt: Callable[[], object]) -> Iterator[tuple[Path, str]]:
    try:
        attempt()
    except WireError as error:
        yield path, str(error)
