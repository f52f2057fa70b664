"""The one number that the operating system knows best."""

from __future__ import annotations

import psutil
import pytest

from gateway.footprint import resident_mb


def test_resident_memory_is_what_the_system_says() -> None:
    assert resident_mb() == pytest.approx(psutil.Process().memory_info().rss / 1e6, rel=0.05)
