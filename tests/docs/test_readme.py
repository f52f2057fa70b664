"""The README shows what is true, and every command of the documents is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.figures import table
from vedette.cli import GROUPS, build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [README, *(page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.md")))]
COMMANDS = [
    command
    for page in PAGES
    for command in re.findall(r"^vedette ([^\n]*?)(?:   |$)", page, re.MULTILINE)
]


def test_the_table_quotes_the_results() -> None:
    assert table() in README


def test_the_example_is_the_file_that_is_tested() -> None:
    code = (ROOT / "examples" / "subscribe.py").read_text("utf-8").split("\n\n", 1)[1]
    assert code.strip() in README


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist_with_their_options(command: str) -> None:
    words = command.split()
    path = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
    assert path[0] in GROUPS
    shown = CliRunner().invoke(build(path[0]), [*path, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert all(word in shown.output for word in words if word.startswith("--"))


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) > 5
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []
