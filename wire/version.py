"""The version of the software; wire format and model contract have versions of their own."""

__all__ = ["VERSION"]

VERSION = "0.1.0"
