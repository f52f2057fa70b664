"""Errors of the aggregator; each says what was expected, what came, and what to do next."""

from __future__ import annotations

__all__ = ["CloudError", "DatabaseError", "RegistryError", "TrainingError"]


class CloudError(Exception):
    """Root of the package's errors."""


class DatabaseError(CloudError):
    """The database cannot be opened or is not ours."""


class RegistryError(CloudError):
    """A model that cannot be registered, promoted or found."""


class TrainingError(CloudError):
    """Training data from which no model can be made."""
