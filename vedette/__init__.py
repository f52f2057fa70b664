"""The front door: command line, demo, and the client for alert subscribers."""

from vedette.subscribe import SubscriptionRefusedError, subscribe

__all__ = ["SubscriptionRefusedError", "subscribe"]
