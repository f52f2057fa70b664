"""The one number that the operating system knows best."""

from __future__ import annotations

import platform

import psutil
import pytest

from gateway.footprint import give_back_early, resident_mb


def test_resident_memory_is_what_the_system_says() -> None:
    assert resident_mb() == pytest.approx(psutil.Process().memory_info().rss / 1e6, rel=0.05)


def test_glibc_takes_the_settings_and_others_are_left_alone() -> None:
    assert give_back_early() == (platform.libc_ver()[0] == "glibc")
