"""The front door."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from vedette.cli import GROUPS, build


def test_help_lists_every_group() -> None:
    shown = CliRunner().invoke(build(None), ["--help"])
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_help(group: str) -> None:
    shown = CliRunner().invoke(build(group), [group, "--help"])
    assert shown.exit_code == 0
    assert "Usage" in shown.stdout


def test_unknown_group_is_a_usage_error() -> None:
    assert CliRunner().invoke(build("frobnicate"), ["frobnicate"]).exit_code == 2


def test_the_gateway_process_loads_nothing_heavy() -> None:
    heavy = ["onnx", "sqlalchemy", "pyarrow", "paho", "aiomqtt", "typer", "rich", "torch", "pandas"]
    code = f"import gateway.__main__, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
