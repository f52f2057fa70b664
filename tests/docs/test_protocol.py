"""docs/protocol.md against wire: every table, limit, topic and example is derived or decoded."""

from __future__ import annotations

import ast
import inspect
import json
import re
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zstandard
from msgspec import inspect as kinds

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
    tails = {"alerts": "ASSET", "state": "ASSET", "cmd": "VERB"}
    patterns = {"readings": build.readings("SOURCE")}
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


@pytest.mark.parametrize("cls", [*MESSAGES, contract.ModelCard], ids=lambda cls: cls.__name__)
def test_each_example_decodes_to_what_it_says(cls: type[msgspec.Struct]) -> None:
    (text,) = examples(f"example: {cls.__name__}")
    decoded = codec.decode_json(text.encode(), cls)
    assert json.loads(codec.encode_json(decoded)) == json.loads(text)


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
