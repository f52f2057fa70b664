"""The gateway's sessions: with the broker of the sensors, and with that of the cloud."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from gateway.config import BrokerSection, Config, read_password
from wire.codec import encode_json
from wire.messages import GatewayStatus
from wire.mqtt import Connected, ConnectionState, Endpoint, Session, Will

__all__ = ["RECEIVE_MAX", "Links", "open_links", "tell"]

log = logging.getLogger("vedette.gateway")

RECEIVE_MAX = 1024  # bounds what is in memory before it is processed; more gains no speed


@dataclass(frozen=True, slots=True)
class Links:
    """The session with the site's sensors and the one with the cloud; often the same."""

    site: Session
    uplink: Session

    @property
    def distinct(self) -> list[Session]:
        """Each session once, the uplink last."""
        return [self.site] if self.site is self.uplink else [self.site, self.uplink]


def open_links(config: Config, folder: Path) -> Links:
    """Make the sessions, which are not entered yet; raise ConfigError for unusable files."""
    site = _session(config, config.site, folder, role="site")
    if config.uplink is None:
        return Links(site, site)
    return Links(site, _session(config, config.uplink, folder, role="uplink"))


def _session(config: Config, section: BrokerSection, folder: Path, *, role: str) -> Session:
    gateway = config.gateway.id
    topic = config.topics.gateway(gateway, "status")
    will = Will(topic, encode_json(GatewayStatus(gateway=gateway, presence="offline")))
    given = {"username": section.username, "password": read_password(section, folder=folder)}
    files = {"ca_file": section.ca_file, "cert_file": section.cert_file}
    files["key_file"] = section.key_file
    endpoint = Endpoint.from_url(
        section.url,
        client_id=gateway if role == "site" else f"{gateway}-{role}",
        keep_alive_s=section.keep_alive_s,
        receive_max=RECEIVE_MAX,
        will=will,
        **{name: value for name, value in given.items() if value is not None},
        **{name: folder / path for name, path in files.items() if path is not None},
    )
    return Session(endpoint, on_state=lambda state: tell(role, state), most_waiting=RECEIVE_MAX)


def tell(role: str, state: ConnectionState) -> None:
    """Log a change of a connection."""
    level = logging.INFO if isinstance(state, Connected) else logging.WARNING
    log.log(level, "broker of the %s: %s", role, state)
