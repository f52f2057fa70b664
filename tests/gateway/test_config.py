"""The configuration file: what it takes, what it refuses, and on which line."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config, load_config, parse_config
from gateway.decode.rules import FieldRule, SourceRule, TimeRule
from gateway.edge import settings_of
from gateway.errors import ConfigError
from gateway.keylines import KeyLines
from gateway.pipeline import PipelineSettings

SAMPLE = Path(__file__).parents[2] / "deploy" / "gateway.toml"


def fault(text: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        parse_config(text, name="gw.toml")
    return str(refusal.value)


def test_nothing_gives_the_defaults() -> None:
    config = parse_config("", name="gw.toml")
    assert config == Config()
    assert [rule.match for rule in config.sources] == ["vedette/v1/readings/+"]
    assert parse_config('[gateway]\nroot="a/b"', name="x").sources[0].match == "a/b/readings/+"


def test_a_gateway_by_default_does_what_a_backtest_does() -> None:
    assert settings_of(Config()) == PipelineSettings()


def test_the_sample_is_the_defaults() -> None:
    assert load_config(SAMPLE) == Config()


def test_the_sample_has_every_key_with_a_comment() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    sections: dict[str, set[str]] = {}
    for line in text.splitlines():
        if header := re.match(r"#? ?\[\[?([\w.]+)\]\]?$", line):
            section = header.group(1)
        elif key := re.match(r"#? ?(\w+) = ", line):
            sections.setdefault(section, set()).add(key.group(1))
    config = Config()
    wanted = {
        name: {field.name for field in msgspec.structs.fields(type(getattr(config, name)))}
        for name in ("gateway", "site", "models", "summaries", "excerpts", "outbox", "storage")
    }
    wanted["uplink"] = wanted["site"]
    wanted["source"] = {field.name for field in msgspec.structs.fields(SourceRule)} - {"field"}
    wanted["source.field"] = {field.name for field in msgspec.structs.fields(FieldRule)}
    assert sections == wanted
    assert {field.name for field in msgspec.structs.fields(Config)} == set(sections) - {
        "source.field"
    }
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if re.match(r"\w+ = ", line):
            assert lines[at - 1].startswith("# "), line


def test_the_sample_with_everything_switched_on_is_valid() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    active = re.sub(r"(?m)^# (?=(\w+ = |\[))", "", text)
    config = parse_config(active, name="sample")
    assert config.uplink is not None
    assert len(config.source) == 2
    assert config.source[1].time == TimeRule("when.t", "ms")
    assert config.source[1].field[0].channel == "temperature"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[gatway]\nid='x'", 1, "gatway"),
        ("\n\ncolour = 1", 3, "colour"),
        ("[gateway]\n\nidd = 'x'", 3, "idd"),
        ("[gateway]\nid = 'a/b'", 2, "gateway.id: name: expected 1 to 64"),
        ("[gateway]\nid = 7", 2, "gateway.id"),
        ("[gateway]\nroot = '/x'", 2, "gateway.root: root: expected"),
        ("[site]\nurl = 'http://x'", 2, "site.url: expected mqtt://"),
        ("[site]\nurl = 'mqtt://x:99999'", 2, "site.url: expected mqtt://"),
        ("[site]\nusername='u'\n[uplink]\nurl = ''", 4, "uplink.url"),
        ("[site]\nkeep_alive_s = 4", 2, ">= 5"),
        ("[site]\nkeep_alive_s = 20.5", 2, "site.keep_alive_s"),
        ("[models]\npushed = 'maybe'", 2, "models.pushed"),
        ("[summaries]\nperiod_s = nan", 2, "summaries.period_s"),
        ("[summaries]\nperiod_s = inf", 2, "summaries.period_s"),
        ("[summaries]\nperiod_s = 1e-9", 2, ">= 0.001"),
        ("[summaries]\nperiod_s = true", 2, "summaries.period_s"),
        ("[summaries]\nmost_rows = 15", 2, ">= 16"),
        ("[summaries]\nmost_rows = 100", 1, "summaries.least_rows: expected at most"),
        ("[summaries]\nleast_rows = 257", 2, "least_rows"),
        ("[excerpts]\nsample_every = 255", 2, ">= 256"),
        (
            "[excerpts]\nsample_rows = 65\n[summaries]\nleast_rows=1\nmost_rows=64",
            2,
            "sample_rows",
        ),
        ("[outbox]\nlimit_mb = 0", 2, "> 0.0"),
        ("[[source]]\nformat='json'", 1, "match"),
        ("[[source]]\nmatch=''", 2, "source[0].match"),
        ("[[source]]\nmatch='a'\n[[source]]\nmatch='a/#/b'", 4, "source.1.match: cannot subscribe"),
        ("[[source]]\nmatch='a'\nformat='xml'", 3, "source[0].format"),
        ("[[source]]\nmatch='a'\nformat='json'\ntopic='a/+'", 4, "expected {asset}"),
        ("[[source]]\nmatch='a'\nformat='json'\ntopic='{asset}/{asset}'", 4, "at most once"),
        ("[[source]]\nmatch='a'\nformat='json'\ntopic='{asset}/{chanel}'", 4, "at most once"),
        ("[[source]]\nmatch='a'\nasset='a b'", 3, "source.0.asset"),
        ("[[source]]\nmatch='a'\ntime={path='t'}", 3, "source.0.time: expected none"),
        ("[[source]]\nmatch='a'\nformat='json'\ntime={path='t', unit='h'}", 4, "time.unit"),
        ("[[source]]\nmatch='a'\nformat='json'\n[source.time]\npath='t'\nunit='h'", 6, "time.unit"),
        (
            "[[source]]\nmatch='a'\nformat='json'\n[[source.field]]\npath='x'\n[[source.field]]\npath='y'\nscale='z'",
            8,
            "field[1].scale",
        ),
        ("[[source]]\nmatch='a'\nformat='json'\n[[source.field]]\npath='x'\nscal=1", 6, "scal"),
        ("[[source]]\nmatch='a'\nformat='json'\n[[source.field]]\nunit='x'", 4, "path"),
        ("[[source]]\nmatch='a'\nformat='json'\n[[source.field]]\npath='x'\nscale=nan", 6, "scale"),
        (
            "[[source]]\nmatch='a'\nformat='json'\n[[source.field]]\npath='x'\n[[source.field]]\npath='y'\nchannel='x'",
            4,
            "distinct channels",
        ),
        (
            "[[source]]\nmatch='a'\n[[source]]\nmatch='b'\n[[source.field]]\npath='x'\nscale=''",
            7,
            "source[1].field[0].scale",
        ),
        ("site.keep_alive_s = 1", 1, "keep_alive_s"),
    ],
)
def test_a_fault_is_told_with_file_line_and_key(text: str, line: int, words: str) -> None:
    said = fault(text)
    assert said.startswith(f"gw.toml:{line}: ")
    assert words in said


@pytest.mark.parametrize("text", ["[site", "a = ", "x = 1\nx = 2", "\x00"])
def test_what_is_no_toml_is_told(text: str) -> None:
    assert fault(text).startswith("gw.toml: not TOML: ")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    odd = tmp_path / "odd.toml"
    odd.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none.toml", tmp_path, odd):
        with pytest.raises(ConfigError, match="expected a readable TOML file"):
            load_config(path)


def test_lines_of_keys_in_any_spelling() -> None:
    lines = KeyLines(
        '# a\n[ "a" ] # b\nb.c = 1\n"d e" = 2\n[[t]]\nx=1\n[[t]]\n[t.u]\ny = 2\n[[t.v]]\nz=[\n1]\n'
    )
    assert lines.find(("a",)) == 2
    assert lines.find(("a", "b", "c")) == 3
    assert lines.find(("a", "d e")) == 4
    assert lines.find(("t", 0, "x")) == 6
    assert lines.find(("t", 1)) == 7
    assert lines.find(("t", 1, "u", "y")) == 9
    assert lines.find(("t", 1, "v", 0, "z")) == 11
    assert lines.find(("t", 1, "v", 5, "z")) == 10
    assert lines.find(("none",)) == 1
