"""Errors of the MQTT session: what was expected, what came, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping

from wire.errors import WireError

__all__ = [
    "BrokerUnreachableError",
    "ConnectionRefusedByBrokerError",
    "EndpointError",
    "FilterError",
    "MqttError",
    "PacketTooLargeError",
    "ProtocolViolationError",
    "PublishRefusedError",
    "PublishTopicError",
    "SessionClosedError",
    "SubscribeRefusedError",
]


class MqttError(WireError):
    """Root of the errors of the MQTT session."""


class EndpointError(MqttError):
    """An address or TLS setting that cannot be used."""


class BrokerUnreachableError(MqttError):
    """No broker accepted a connection in time."""

    def __init__(self, *, host: str, port: int, detail: str) -> None:
        super().__init__(
            f"no MQTT 5 broker answered at {host}:{port} ({detail}); "
            "check that it runs and that the address is right"
        )
        self.host = host
        self.port = port


class ConnectionRefusedByBrokerError(MqttError):
    """The broker answered CONNECT with a reason code of 128 or more."""

    def __init__(self, reason_code: int, detail: str) -> None:
        super().__init__(
            f"the broker refused the connection: {reason_code} {detail}; "
            "check the client id, user name, password and certificate"
        )
        self.reason_code = reason_code


class ProtocolViolationError(MqttError):
    """The broker sent bytes that MQTT 5 does not allow; `reason_code` goes into our DISCONNECT."""

    def __init__(self, reason_code: int, detail: str) -> None:
        super().__init__(f"the broker broke the protocol ({reason_code}): {detail}")
        self.reason_code = reason_code
        self.detail = detail


class PublishRefusedError(MqttError):
    """The broker answered PUBLISH with a reason code of 128 or more; the message is not stored."""

    def __init__(self, *, topic: str, reason_code: int, reason: str) -> None:
        super().__init__(
            f"the broker refused a message to {topic!r}: {reason_code} {reason}; "
            "check the broker's access list and quotas"
        )
        self.topic = topic
        self.reason_code = reason_code
        self.reason = reason


class SubscribeRefusedError(MqttError):
    """The broker refused some filters, or granted less than asked; `refused` maps them to codes."""

    def __init__(self, refused: Mapping[str, int]) -> None:
        listed = ", ".join(f"{pattern!r} ({code})" for pattern, code in refused.items())
        super().__init__(f"the broker refused {listed}; check the broker's access list")
        self.refused = dict(refused)


class PacketTooLargeError(MqttError):
    """A message larger than the broker's Maximum Packet Size; it was not sent."""

    def __init__(self, *, topic: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"a message of {size_bytes} bytes to {topic!r} exceeds the broker's limit of "
            f"{limit_bytes}; split it or raise max_packet_size at the broker"
        )
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class PublishTopicError(MqttError):
    """A topic that cannot be published to: empty, too long, or with +, # or NUL."""


class FilterError(MqttError):
    """A topic filter or quality of service that cannot be subscribed to."""


class SessionClosedError(MqttError):
    """The session was closed while, or before, it was used."""
