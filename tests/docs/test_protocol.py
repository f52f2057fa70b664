"""docs/protocol.md against wire: every table, limit, topic and example is derived or decoded."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import zstandard
from msgspec import inspect as kinds

from cloud import ingest
from cloud.database import open_database
from cloud.store import Store
from gateway import drain
from gateway.config import Config, GatewaySection
from gateway.decode import sources as decode_sources
from gateway.edge import Edge, lane_epoch
from gateway.ledger import Ledger
from gateway.models.shelf import open_shelf_blocking
from gateway.outbox import LANE_OF, LANES
from sensors import confirming
from wire import blocks, codec, columns, contract, messages, onnxfile, sketch, topics
from wire.topics import GATEWAY_KINDS, Topics

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
FLOWING = " ".join(DOCUMENT.split())
MODULES = (messages, contract, blocks)
MESSAGES = (
    messages.ReadingMessage,
    messages.AlertEvent,
    messages.AssetState,
    messages.GatewayStatus,
    messages.StoredMessage,
    messages.ConfirmRequest,
    messages.ConfirmedMessage,
    messages.GapMessage,
    messages.ModelManifest,
)
PARTS = (
    messages.Alert,
    messages.AlertChannel,
    messages.ModelRef,
    messages.ModelStatus,
    messages.ModelTarget,
)
CARDS = (
    contract.ModelCard,
    contract.Channel,
    contract.Calibration,
    contract.AlertRule,
    contract.StateSpec,
    contract.Golden,
)
BLOCKS = (blocks._Summaries, blocks._Excerpt)
STRUCTS = MESSAGES + PARTS + CARDS + BLOCKS


def field_docs(cls: type) -> dict[str, str]:
    """Field name to the docstring below it, of the class and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if inspect.getmodule(base) not in MODULES:
            continue
        body = ast.parse(inspect.getsource(base)).body[0].body
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                docs[field.target.id] = inspect.cleandoc(text.value.value).replace("|", "\\|")
    return docs


def span(low: float | None, high: float | None) -> str:
    powers = {2**63 - 1: "2^63-1", messages.MAX_EVENT_MS: f"{messages.MAX_EVENT_MS:.0f}"}
    ends = ["" if end is None else powers.get(end, str(end)) for end in (low, high)]
    return f" {ends[0]}..{ends[1]}" if any(ends) else ""


def bounds(kind: kinds.IntType | kinds.FloatType) -> str:
    if kind.gt is not None:
        return f" between {kind.gt} and {kind.lt}"
    return span(kind.ge, kind.le)


def text_type(kind: kinds.StrType) -> str:
    if kind.pattern is None:
        return f"text{span(kind.min_length, kind.max_length)}"
    return {topics.NAME_PATTERN: "name", r"^[0-9a-f]{64}\Z": "SHA-256"}[kind.pattern]


def union_type(kind: kinds.UnionType) -> str:
    return " or ".join(type_name(part) for part in kind.types)


def literal_type(kind: kinds.LiteralType) -> str:
    return " or ".join(f"`{json.dumps(value)}`" for value in kind.values)


def array_type(kind: kinds.VarTupleType) -> str:
    return f"array{span(kind.min_length, kind.max_length)} of {type_name(kind.item_type)}"


def tuple_type(kind: kinds.TupleType) -> str:
    return f"array [{', '.join(type_name(part) for part in kind.item_types)}]"


NAMERS = {
    kinds.StrType: text_type,
    kinds.IntType: lambda kind: f"integer{bounds(kind)}",
    kinds.FloatType: lambda kind: f"number{bounds(kind)}",
    kinds.BoolType: lambda _: "boolean",
    kinds.BytesType: lambda _: "binary",
    kinds.NoneType: lambda _: "null",
    kinds.LiteralType: literal_type,
    kinds.UnionType: union_type,
    kinds.TupleType: tuple_type,
    kinds.VarTupleType: array_type,
    kinds.DictType: lambda kind: (
        f"object: {type_name(kind.key_type)} -> {type_name(kind.value_type)}"
    ),
    kinds.StructType: lambda kind: f"`{kind.cls.__name__}`",
}


def type_name(kind: kinds.Type) -> str:
    """A msgspec type in the words of the document."""
    return NAMERS[type(kind)](kind)


def default_text(field: kinds.Field) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{json.dumps(value)}`"


def struct_table(cls: type[msgspec.Struct]) -> str:
    """The table of one struct's fields, as the document must hold it."""
    docs, info = field_docs(cls), kinds.type_info(cls)
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    if info.tag_field:
        lines.append(f"| `{info.tag_field}` | `{json.dumps(info.tag)}` | required | Block type. |")
    lines += [
        f"| `{field.encode_name}` | {type_name(field.type)} | {default_text(field)} "
        f"| {docs[field.name]} |"
        for field in info.fields
    ]
    return "\n".join(lines)


def column_table() -> str:
    """The table of a summary block's columns, in the order of their struct."""
    docs = field_docs(blocks.SummaryColumns)
    lines = ["| column | packed as | meaning |", "|---|---|---|"]
    for name, dtype in blocks.ROW_DTYPES.items():
        packed = "times" if dtype == "times" else np.dtype(dtype).name
        lines.append(f"| `{name}` | {packed} | {docs[name]} |")
    return "\n".join(lines)


def limit_table() -> str:
    limits = {
        "JSON payload": (codec.MAX_JSON_BYTES, "bytes"),
        "block as sent": (blocks.MAX_BLOCK_BYTES, "bytes"),
        "block once decompressed": (blocks.MAX_UNPACKED_BYTES, "bytes"),
        "model file": (contract.MAX_MODEL_BYTES, "bytes"),
        "chunk of a file": (messages.CHUNK_BYTES, "bytes"),
        "number of a chunk": (topics.MAX_CHUNK, ""),
        "topic root": (topics.MAX_ROOT_BYTES, "bytes of UTF-8"),
        "messages that one gap record tells of": (ingest.MAX_RANGE, ""),
        "readings that one gap record tells of": (ingest.MAX_READINGS, ""),
        "`first` of a confirm request to the cloud": (ingest.MAX_RANGE, ""),
        "epochs of a source that are remembered, besides the present one": (
            decode_sources.EPOCHS_REMEMBERED,
            "",
        ),
        "event time": (int(messages.MAX_EVENT_MS), "ms since 1970-01-01 UTC (the year 2200)"),
        "nodes of a graph": (contract.MAX_NODES, ""),
        "protobuf fields of a model file": (onnxfile.MAX_FIELDS, ""),
        "numbers in a row of `x`, and of all states": (contract.MAX_ROW_NUMBERS, ""),
        "points of a merged sketch": (sketch.MOST_POINTS, ""),
    }
    rows = [f"| {what} | {f'{most:,} {unit}'.strip()} |" for what, (most, unit) in limits.items()]
    return "\n".join(["| what | at most |", "|---|---|", *rows])


def topic_patterns() -> dict[str, str]:
    """Each topic's pattern, made by its builder."""
    build, sha256 = Topics("ROOT"), "0" * 64
    tails = {"alerts": "ASSET", "state": "ASSET", "cmd": "VERB", "confirmed": "SOURCE"}
    patterns = {"readings": build.readings("SOURCE"), "asked": build.confirm("SOURCE")}
    for kind in GATEWAY_KINDS:
        patterns[kind] = build.gateway("GATEWAY", kind, tails.get(kind))
    patterns["meta"] = build.meta("ROLE")
    patterns["blob"] = build.blob(sha256, 0).replace(sha256, "SHA256").removesuffix("0") + "N"
    return {
        name: re.sub("[A-Z]+[0-9]*", lambda word: f"<{word[0].lower()}>", pattern)
        for name, pattern in patterns.items()
    }


def reasons(*modules: object) -> set[str]:
    """Reason codes that the modules' source raises."""
    source = "".join(inspect.getsource(module) for module in modules)
    calls = r'(?:MessageError|ContractError|_expect)\(\s*"([a-z_0-9]+)"'
    returned = r'(?:return|reason =|if .* else) "([a-z_]+)"'
    return {*re.findall(calls, source), *re.findall(returned, source)}


def inline(words: set[str] | frozenset[str]) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))


def examples(kind: str) -> list[str]:
    return re.findall(rf"<!-- {kind} -->\n```\w+\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("cls", STRUCTS, ids=lambda cls: cls.__name__.strip("_"))
def test_each_struct_has_its_table_with_every_field(cls: type[msgspec.Struct]) -> None:
    heading, table = f"`{cls.__name__.strip('_')}`", struct_table(cls)
    assert table in DOCUMENT, f"docs/protocol.md lacks this table:\n{table}"
    before = DOCUMENT[: DOCUMENT.index(table)].rstrip().splitlines()
    assert heading in " ".join(before[-4:]), f"{heading} must stand above its table"


def test_every_struct_of_wire_is_documented() -> None:
    found = {
        cls
        for module in MODULES
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, msgspec.Struct) and cls.__module__ == module.__name__
    }
    assert found - {blocks._Head} == set(STRUCTS)


def test_every_public_block_field_has_a_meaning() -> None:
    for cls in (blocks.SummaryBlock, blocks.ExcerptBlock, blocks.SummaryColumns):
        assert field_docs(cls).keys() == set(cls.__dataclass_fields__)


@pytest.mark.parametrize("render", [column_table, limit_table])
def test_the_derived_tables_stand_in_the_document(render: object) -> None:
    assert render() in DOCUMENT, f"docs/protocol.md lacks this table:\n{render()}"


@pytest.mark.parametrize(("name", "pattern"), topic_patterns().items())
def test_each_topic_has_its_row(name: str, pattern: str) -> None:
    rows = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{pattern}` |")]
    assert len(rows) == 1, f"docs/protocol.md lacks a row for {pattern}"
    retained = rows[0].split("|")[2].strip()
    assert retained == ("yes" if name in {"state", "status", "meta", "blob"} else "no")


def test_no_topic_is_documented_that_the_builders_do_not_know() -> None:
    rows = re.findall(r"^\| `(<root>/[^`]*)` \|", DOCUMENT, re.MULTILINE)
    assert sorted(rows) == sorted(topic_patterns().values())


def test_the_grammar_of_names_and_the_default_root_are_those_of_wire() -> None:
    assert f"`{topics.NAME_PATTERN}`" in DOCUMENT
    assert f"`{topics.DEFAULT_ROOT}`" in DOCUMENT


def test_operators_and_opsets_are_those_of_wire() -> None:
    assert inline(contract.BANNED_OPS) in FLOWING, inline(contract.BANNED_OPS)
    assert inline(contract.MICROSOFT_OPS) in FLOWING, inline(contract.MICROSOFT_OPS)
    for domain, versions in contract.OPSETS.items():
        row = f"| `{domain or 'ai.onnx'}` | {versions[0]} to {versions[-1]} |"
        assert row in DOCUMENT, row
        assert (domain or "ai.onnx") in contract.OPSETS_TEXT
    assert f"{contract.IR_VERSIONS[0]} to {contract.IR_VERSIONS[-1]}" in DOCUMENT


@pytest.mark.parametrize(
    ("heading", "modules"),
    [
        ("Reasons of messages", (codec, blocks, columns)),
        ("Reasons of models", (contract, onnxfile)),
    ],
)
def test_each_reason_has_its_row_and_no_other(heading: str, modules: tuple[object, ...]) -> None:
    section = DOCUMENT.split(f"### {heading}\n")[1].split("\n#")[0]
    listed = set(re.findall(r"^\| `([a-z_0-9]+)` \|", section, re.MULTILINE))
    assert listed == reasons(*modules)


def test_the_cloud_refuses_for_the_reasons_listed() -> None:
    section = DOCUMENT.split("### Reasons of the cloud\n")[1].split("\n#")[0]
    listed = set(re.findall(r"^\| `([a-z_0-9]+)` \|", section, re.MULTILINE))
    source = inspect.getsource(ingest)
    found = re.findall(r'(?:MessageError\(\s*|, |else )"((?:bad|un|topic)[a-z_]*)"', source)
    same = {f"wrong_{what}" for what in re.findall(r'_check_same\("(\w+)"', source)}
    assert listed == {*found} | same


@pytest.mark.parametrize("cls", [*MESSAGES, contract.ModelCard], ids=lambda cls: cls.__name__)
def test_each_example_decodes_to_what_it_says(cls: type[msgspec.Struct]) -> None:
    (text,) = examples(f"example: {cls.__name__}")
    decoded = codec.decode_json(text.encode(), cls)
    assert json.loads(codec.encode_json(decoded)) == json.loads(text)


def test_the_status_example_adds_up() -> None:
    (text,) = examples("example: GatewayStatus")
    status = json.loads(text)
    readings, ledger = status["readings"], status["ledger"]
    settled = ("scored", "missing", "duplicate", "out_of_range")
    assert readings["received"] == sum(readings[name] for name in settled)
    assert ledger["scored"] == readings["scored"] == ledger["open"] + ledger["summarised"]
    assert ledger["summarised"] == ledger["stored"] + ledger["pending"] + ledger["dropped"]
    assert ledger["pending"] == status["outbox"]["readings"]
    assert sum(model["scored"] for model in status["models"]) == readings["scored"]
    assert readings.keys() == Ledger().readings().keys()
    assert ledger.keys() == Ledger().summary(pending=0).keys()


def test_the_lanes_are_those_of_the_gateway() -> None:
    for lane in LANES:
        assert f"`{lane_epoch('<epoch>', lane)}`" in DOCUMENT
        kinds_of_lane = [kind for kind, name in LANE_OF.items() if name == lane]
        (row,) = re.findall(
            rf"^\| `{lane_epoch('<epoch>', lane)}` \| (.*?) \|", DOCUMENT, re.MULTILINE
        )
        assert re.findall(r"[a-z]+", row) == kinds_of_lane


def test_the_pauses_between_questions_are_those_of_the_code() -> None:
    assert confirming.ASK_EVERY_S == drain.ASK_S == 1.0
    assert f"expires after {confirming.ANSWERABLE_S:.0f} s" in FLOWING
    assert f"up to {drain.ASK_CAP_S:.0f} s" in FLOWING
    assert f"{decode_sources.EPOCHS_REMEMBERED} epochs before" in FLOWING
    assert f"more than {decode_sources.REACH:,} off" in FLOWING


def sequence(name: str) -> list[tuple[str, str, str]]:
    """The steps of a walk-through: what happens (> sent, x lost, < answered), topic, payload."""
    (text,) = examples(f"sequence: {name}")
    lines = (line.split("  --")[0].split(maxsplit=2) for line in text.splitlines())
    return [(mark, f"{topics.DEFAULT_ROOT}/{topic}", payload) for mark, topic, payload in lines]


def test_a_gateway_answers_a_sensor_as_the_walk_through_says(tmp_path: Path) -> None:
    config = Config(gateway=GatewaySection(id="site-7"))
    shelf = open_shelf_blocking(tmp_path, most_rows=config.summaries.most_rows)
    edge = Edge(config, shelf, epoch="b2x8m1")
    told: list[tuple[str, dict]] = []
    for mark, topic, payload in sequence("sensor"):
        if mark == "<":
            assert told.pop(0) == (topic, json.loads(payload))
        elif mark == ">":
            told += given(edge, topic, payload.encode())
    assert told == []
    assert edge.ledger.skipped == 0
    assert edge.ledger.early > 0


class Publication(NamedTuple):
    topic: str
    payload: bytes


def given(edge: Edge, topic: str, payload: bytes) -> list[tuple[str, dict]]:
    """Give a message to an edge as its shell does; return what it says."""
    entries = edge.take([Publication(topic, payload)], arrival_ms=0.0)
    for _, asked in edge.decoder.inbox:
        answer, gaps = edge.confirm(codec.decode_json(asked, messages.ConfirmRequest))
        entries += [*gaps, answer]
    edge.decoder.inbox.clear()
    return [
        (entry.topic, json.loads(entry.payload))
        for entry in entries
        if entry.kind in {"gaps", "confirmed"}
    ]


def test_a_cloud_answers_a_gateway_as_the_walk_through_says(tmp_path: Path) -> None:
    store = Store(open_database(f"sqlite:///{tmp_path}/cloud.sqlite"))
    answer: messages.StoredMessage | None = None
    for mark, topic, payload in sequence("cloud"):
        if mark == "<":
            assert json.loads(codec.encode_json(answer)) == json.loads(payload)
        elif mark == ">":
            body = block_of(payload) if payload.startswith("block") else payload.encode()
            record = ingest.read_message(Topics(), topic=topic, payload=body)
            asked = topic.endswith("/confirm")
            answers = store.write([record], received_us=1).answers
            answer = answers[0] if asked else answer
    store.close()


def block_of(text: str) -> bytes:
    """`block EPOCH SEQ` as the excerpt of the examples under that number."""
    (payload,) = (bytes.fromhex(text) for text in examples("block: excerpt"))
    _, epoch, seq = text.split()
    block = blocks.decode_excerpt(payload)
    return blocks.encode_excerpt(dataclasses.replace(block, epoch=epoch, seq=int(seq)))


def test_the_readings_example_decodes_as_an_array_too() -> None:
    (text,) = examples("example: array of ReadingMessage")
    assert len(codec.decode_readings(text.encode())) == len(json.loads(text)) == 2


def content(block: object) -> dict:
    """A block as JSON could show it: arrays as lists, NaN as null."""
    shown = {}
    for name in block.__dataclass_fields__:
        value = getattr(block, name)
        if isinstance(value, blocks.SummaryColumns):
            shown[name] = content(value)
        elif isinstance(value, np.ndarray):
            shown[name] = json.loads(msgspec.json.encode(value.tolist()))
        else:
            shown[name] = list(value) if isinstance(value, tuple) else value
    return shown


@pytest.mark.parametrize(
    ("name", "decode", "encode"),
    [
        ("excerpt", blocks.decode_excerpt, blocks.encode_excerpt),
        ("summaries", blocks.decode_summaries, blocks.encode_summaries),
    ],
)
def test_each_block_example_decodes_to_its_content(
    name: str, decode: object, encode: object
) -> None:
    (payload,) = (bytes.fromhex(text) for text in examples(f"block: {name}"))
    (unpacked,) = (bytes.fromhex(text) for text in examples(f"unpacked: {name}"))
    (expected,) = examples(f"content: {name}")
    block = decode(payload)
    assert content(block) == json.loads(expected)
    open_frame = zstandard.ZstdDecompressor().decompress
    assert open_frame(payload) == open_frame(encode(block)) == unpacked


def test_the_packed_columns_shown_are_those_of_the_codec() -> None:
    assert columns.pack(np.array([1, 258, 65_535]), "<u2").hex(" ") in DOCUMENT
    assert columns.pack_times(np.array([1000, 1250])).hex(" ") in DOCUMENT
