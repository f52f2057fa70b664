"""aiomqtt clients from URLs, for the command line and for alert subscribers."""

from __future__ import annotations

import secrets
from urllib.parse import unquote

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from wire.endpoint import DEFAULT_PORTS, split_url

__all__ = ["open_client"]

SESSION_EXPIRY_S = 86_400


def open_client(
    url: str,
    *,
    client_id: str | None = None,
    username: str | None = None,
    password: str | None = None,
    certificates: aiomqtt.TLSParameters | None = None,
) -> aiomqtt.Client:
    """Make an MQTT 5 client for mqtt[s]://[user[:password]@]host[:port].

    With a `client_id` the broker keeps the session for a day. `certificates` count for mqtts only.
    Raises EndpointError for another form.
    """
    parts = split_url(url)
    assert parts.hostname
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has none
    properties.SessionExpiryInterval = SESSION_EXPIRY_S if client_id else 0
    return aiomqtt.Client(
        parts.hostname,
        parts.port or DEFAULT_PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else username,
        password=unquote(parts.password) if parts.password else password,
        identifier=client_id or f"vedette-{secrets.token_hex(6)}",
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=client_id is None,
        properties=properties,
        tls_params=(certificates or aiomqtt.TLSParameters()) if parts.scheme == "mqtts" else None,
    )
