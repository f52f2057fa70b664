"""Errors of the gateway: bad configuration (theirs) and refused models or payloads."""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "GatewayError",
    "ModelFailedError",
    "ModelRefusedError",
    "SetBackError",
    "StorageBusyError",
    "StorageError",
    "StorageFullError",
    "StorageVersionError",
]


class GatewayError(Exception):
    """Root of the package's errors."""


class ConfigError(GatewayError):
    """The configuration cannot be used; names the file, the line and the key."""


class StorageError(GatewayError):
    """What is on the disk is not what was written there; says what was expected and what came."""


class StorageBusyError(StorageError):
    """Another process has the file."""


class StorageVersionError(StorageError):
    """The file was made by another version of the software; nothing is wrong with it."""


class SetBackError(StorageError):
    """The storage is older than what the cloud has of it."""


class StorageFullError(GatewayError):
    """The disk takes nothing more at present."""


class ModelRefusedError(GatewayError):
    """A model that will not serve; `reason` is a short code, the text names both sides."""

    def __init__(self, name: str, reason: str, detail: str) -> None:
        super().__init__(f"{name}: {reason}: {detail}")
        self.name = name
        self.reason = reason
        self.detail = detail


class ModelFailedError(ModelRefusedError):
    """A model that could not score rows given to it, in its self-test or in service."""
