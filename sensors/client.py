"""A paho client for an endpoint: its name, credentials and TLS; callbacks are up to its owner."""

from __future__ import annotations

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from wire.endpoint import Endpoint

__all__ = ["client_of"]


def client_of(endpoint: Endpoint, *, protocol: MQTTProtocolVersion) -> paho.Client:
    """Make a client that is not connected yet; raise EndpointError for unusable certificates."""
    client = paho.Client(CallbackAPIVersion.VERSION2, endpoint.client_id, protocol=protocol)
    client.username_pw_set(endpoint.username, endpoint.password)
    client.connect_timeout = endpoint.connect_timeout_s
    if (context := endpoint.tls_context()) is not None:
        client.tls_set_context(context)
    return client
