"""aiomqtt clients from URLs, for the command line and for alert subscribers."""

from __future__ import annotations

import secrets
from urllib.parse import unquote, urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

__all__ = ["open_client"]

SESSION_EXPIRY_S = 86_400
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


def open_client(url: str, *, client_id: str | None = None) -> aiomqtt.Client:
    """Make an MQTT 5 client for mqtt[s]://[user[:password]@]host[:port].

    With a `client_id` the broker keeps the session for a day. Raises ValueError for another form.
    """
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"expected mqtt://host[:port] or mqtts://host[:port], got {url!r}")
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has none
    properties.SessionExpiryInterval = SESSION_EXPIRY_S if client_id else 0
    return aiomqtt.Client(
        parts.hostname,
        parts.port or DEFAULT_PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        identifier=client_id or f"vedette-{secrets.token_hex(6)}",
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=client_id is None,
        properties=properties,
        tls_params=aiomqtt.TLSParameters() if parts.scheme == "mqtts" else None,
    )
