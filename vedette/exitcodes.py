"""Exit codes of every command; scripts rely on them."""

from __future__ import annotations

from typing import Final

__all__ = ["BAD_CONFIGURATION", "BROKER_UNREACHABLE", "FINDING", "MODEL_REFUSED", "USAGE"]

FINDING: Final = 1
"""What was asked for does not hold: a gateway is offline, a threshold is not met."""
USAGE: Final = 2
"""The command line cannot be understood."""
BAD_CONFIGURATION: Final = 3
"""A configuration or recording cannot be used."""
BROKER_UNREACHABLE: Final = 4
"""No broker answered, or it refused the connection."""
MODEL_REFUSED: Final = 5
"""A model or signature was rejected."""
