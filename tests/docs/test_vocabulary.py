"""docs/vocabulary.md against the packages: its terms are in use, their synonyms are not."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("wire", "sensors", "gateway", "cloud", "vedette")
DOCUMENT = (ROOT / "docs" / "vocabulary.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOCUMENT.splitlines()
    if line.startswith("| ") and not line.startswith("| say")
]
EVERYWHERE = ("manager", "helper", "helpers", "util", "utils", "common")


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def identifiers(path: Path) -> Iterator[str]:
    """Names that the file gives: of itself, its classes, functions, arguments and variables."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name


def snake(identifier: str) -> str:
    """`SummaryBlock`, `_block` and `MAX_BLOCK` as words between underscores."""
    return f"_{re.sub('(?<=[a-z0-9])(?=[A-Z])', '_', identifier).strip('_').lower()}_"


NAMES: defaultdict[str, set[str]] = defaultdict(set)
for source in sources():
    for identifier in identifiers(source):
        NAMES[snake(identifier)].add(f"{source.relative_to(ROOT)}: {identifier}")


def uses(word: str) -> list[str]:
    return sorted(place for name, found in NAMES.items() if f"_{word}_" in name for place in found)


def synonyms() -> list[str]:
    return sorted({word.strip() for row in ROWS for word in row[2].split(",")} - {"-"})


def test_the_table_was_read() -> None:
    assert len(ROWS) >= 25
    assert all(len(row) == 3 and all(row) for row in ROWS)


@pytest.mark.parametrize("term", [row[0] for row in ROWS])
def test_each_term_is_in_use(term: str) -> None:
    plural = f"{term[:-1]}ies" if term.endswith("y") else f"{term}s"
    words = {term.replace(" ", "_"), plural.replace(" ", "_")}
    prose = rf"\b({re.escape(term)}|{re.escape(plural)})\b"
    assert any(map(uses, words)) or any(
        re.search(prose, path.read_text(encoding="utf-8")) for path in sources()
    )


@pytest.mark.parametrize("synonym", [*synonyms(), *EVERYWHERE])
def test_no_identifier_uses_a_synonym(synonym: str) -> None:
    assert uses(synonym) == []
    assert uses(f"{synonym}s") == []


@pytest.mark.parametrize("word", EVERYWHERE)
def test_words_that_name_nothing_are_listed(word: str) -> None:
    assert word.removesuffix("s") in DOCUMENT
