"""docs/operations.md against the gateway: it explains every reason of a refusal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text("utf-8")
SOURCES = [*(ROOT / "gateway" / "decode").glob("*.py"), ROOT / "gateway" / "directory.py"]
SOURCES.append(ROOT / "wire" / "codec.py")
REASONS = sorted(
    {
        reason
        for path in SOURCES
        for reason in re.findall(r'MessageError\(\s*"(\w+)"', path.read_text("utf-8"))
    }
)


def test_the_reasons_were_found() -> None:
    assert {"bad_time", "no_rule", "too_large"} <= set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_explained(reason: str) -> None:
    assert re.search(rf"(?m)^\| .*`{reason}`", DOCUMENT)
