"""Where and as whom a session connects."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import mqtt5

from wire.mqtt_errors import EndpointError

__all__ = ["DEFAULT_PORTS", "Endpoint", "Will", "split_url"]

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Will:
    """The message that the broker publishes at QoS 1 when the connection breaks."""

    topic: str
    payload: bytes
    retain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Address, identity and limits of a session.

    `receive_max` bounds the QoS 1 packets held unacknowledged, `max_packet_bytes` each packet. At
    65,535 the codec leaves Receive Maximum out of CONNECT, for which mosquitto puts its own, 20.
    """

    host: str
    port: int = 1883
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keep_alive_s: int = 20
    session_expiry_s: int = 7 * 86_400
    receive_max: int = 65_534
    max_packet_bytes: int = 1_048_576
    connect_timeout_s: float = 10.0
    will: Will | None = None

    @classmethod
    def from_url(cls, url: str, *, client_id: str, **overrides: Any) -> Endpoint:
        """Read `mqtt[s]://[user[:password]@]host[:port]`; raise EndpointError for another form."""
        parts = split_url(url)
        address: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port or DEFAULT_PORTS[parts.scheme],
            "username": parts.username and unquote(parts.username),
            "password": parts.password and unquote(parts.password),
            "tls": parts.scheme == "mqtts",
        }
        return cls(client_id=client_id, **(address | overrides))

    def connect_packet(self) -> bytes:
        """Encode the CONNECT packet: never a clean start, always with a session expiry."""
        return mqtt5.ConnectPacket(
            self.client_id,
            username=self.username,
            password=None if self.password is None else self.password.encode(),
            clean_start=False,
            will=None if self.will is None else encode_will(self.will),
            keep_alive=self.keep_alive_s,
            session_expiry_interval=self.session_expiry_s,
            receive_max=self.receive_max,
            max_packet_size=self.max_packet_bytes,
        ).write()

    def tls_context(self) -> ssl.SSLContext | None:
        """Load the certificates (None without TLS); raise EndpointError where that fails."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            raise EndpointError(
                f"cannot load certificates (ca {self.ca_file}, cert {self.cert_file}, "
                f"key {self.key_file}): {error}"
            ) from error
        return context


def split_url(url: str) -> SplitResult:
    """Split a broker URL; raise EndpointError unless it is mqtt[s]://[user[:pw]@]host[:port]."""
    parts = urlsplit(url)
    try:
        valid = parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.path not in {"", "/"} or parts.query or parts.fragment:
        shown = url.rpartition("@")[2]
        raise EndpointError(
            f"expected mqtt://[user[:password]@]host[:port] or mqtts://..., got {shown!r}"
        )
    return parts


def encode_will(will: Will) -> mqtt5.Will:
    """Turn a will into the codec's."""
    return mqtt5.Will(
        will.topic, payload=will.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, retain=will.retain
    )
