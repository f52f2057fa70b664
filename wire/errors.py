"""Errors of everything that crosses the network; each says what was expected and what came."""

from __future__ import annotations

__all__ = ["ContractError", "MessageError", "TopicError", "WireError"]


class WireError(Exception):
    """Root of the package's errors."""


class TopicError(WireError):
    """A name or topic that the grammar does not allow."""


class MessageError(WireError):
    """A payload that is no valid message; `reason` is a short code for counters."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ContractError(WireError):
    """A model that does not meet `vedette-model/1`; `reason` is a short code for counters."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
