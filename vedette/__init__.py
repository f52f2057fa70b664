"""The front door: command line, demo, and the client for alert subscribers."""

from vedette.subscribe import subscribe

__all__ = ["subscribe"]
