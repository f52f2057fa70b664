"""Errors of the publishers; each says what was expected, what came and where."""

from __future__ import annotations

__all__ = [
    "BrokerUnreachableError",
    "KeptFileDamagedError",
    "KeptFileError",
    "MappingError",
    "PublishError",
    "PublishRefusedError",
    "RecordingError",
    "SensorsError",
    "SimulationError",
    "SubscriptionRefusedError",
    "UnkeepableRowError",
]


class SensorsError(Exception):
    """Root of the package's errors."""


class MappingError(SensorsError):
    """A mapping that does not describe a recording."""


class RecordingError(SensorsError):
    """A recording that cannot be read as its mapping says."""

    def __init__(  # the attributes are the arguments
        self,
        path: object,
        *,
        expected: str,
        got: str,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        where = [str(path)]
        where += [f"line {line}"] if line is not None else []
        where += [f"column {column!r}"] if column is not None else []
        super().__init__(f"{', '.join(where)}: expected {expected}, got {got}")
        self.path = path
        self.line = line
        self.column = column


class SimulationError(SensorsError):
    """A rig or fault that the simulator does not know, or one outside the simulated time."""


class PublishError(SensorsError):
    """Publishing ended before every message was acknowledged."""


class BrokerUnreachableError(PublishError):
    """No connection to the broker within the time allowed."""


class PublishRefusedError(PublishError):
    """The broker answered a publish with a reason code of 128 or more."""

    def __init__(self, topic: str, *, reason_code: int, reason: str) -> None:
        super().__init__(
            f"{topic}: expected the broker to accept the publish, got reason "
            f"{reason_code} ({reason}); allow this topic in the broker's ACL"
        )
        self.topic = topic
        self.reason_code = reason_code


class SubscriptionRefusedError(SensorsError):
    """The broker refused the connection or the topic filter of a recorder."""


class UnkeepableRowError(PublishError):
    """A row that would be kept for ever, as no receiver can take it."""


class KeptFileError(SensorsError):
    """A file of kept readings that cannot be used."""

    def __init__(self, path: object, *, expected: str, got: str, next_step: str) -> None:
        super().__init__(f"{path}: expected {expected}, got {got}; {next_step}")
        self.path = path


class KeptFileDamagedError(KeptFileError):
    """A file of kept readings whose content changed; it was set aside."""
