"""A paho client for an endpoint: its name, credentials and TLS; callbacks are up to its owner."""

from __future__ import annotations

from typing import Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from wire.endpoint import Endpoint

__all__ = ["Protocol", "client_of"]

Protocol = Literal["5", "3.1.1"]

VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


def client_of(endpoint: Endpoint, *, protocol: Protocol) -> paho.Client:
    """Make a client that is not connected yet; raise EndpointError for unusable certificates."""
    version = VERSIONS[protocol]
    client = paho.Client(CallbackAPIVersion.VERSION2, endpoint.client_id, protocol=version)
    client.username_pw_set(endpoint.username, endpoint.password)
    client.connect_timeout = endpoint.connect_timeout_s
    if (context := endpoint.tls_context()) is not None:
        client.tls_set_context(context)
    return client
