"""The root of the front door's errors; what is beneath it stands beside the code that raises it."""

from __future__ import annotations

__all__ = ["VedetteError"]


class VedetteError(Exception):
    """Root of the package's errors."""
