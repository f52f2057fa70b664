"""Source rules: which topics are taken in, and how their payloads are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from wire.errors import WireError
from wire.session import topic_filter
from wire.topics import check_name

__all__ = [
    "FieldRule",
    "SourceRule",
    "TimeRule",
    "filters_to_subscribe",
    "rule_faults",
    "template_pattern",
    "topic_matches",
]

Finite = Annotated[float, Meta(ge=-1e18, le=1e18)]
PLACEHOLDER = re.compile(r"\{(asset|channel)\}")


class TimeRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a payload keeps its event time; without it the time of arrival counts."""

    path: Annotated[str, Meta(min_length=1, max_length=256)]
    """Dotted path to the field."""
    unit: Literal["s", "ms", "us", "ns", "iso"] = "ms"
    """Unit since 1970-01-01 UTC; `iso` = RFC 3339 text (without zone: UTC)."""


class FieldRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One value of a payload."""

    path: Annotated[str, Meta(max_length=256)]
    """Dotted path to a number; array items by index (`points.0.v`); empty = the whole payload."""
    channel: Annotated[str, Meta(max_length=256)] = ""
    """Channel name; default: the path, behind the topic's channel if it names one."""
    unit: Annotated[str, Meta(max_length=64)] = ""
    """Unit after scaling."""
    scale: Finite = 1.0
    """Factor applied to the value."""
    offset: Finite = 0.0
    """Added after scaling, in `unit`."""


class SourceRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[source]]`; the first rule that matches a topic decodes it."""

    match: Annotated[str, Meta(min_length=1, max_length=512)]
    """MQTT topic filter."""
    format: Literal["vedette", "json"] = "vedette"
    """`vedette`: readings of our own sensors; `json`: any JSON object, or a bare number."""
    topic: str = ""
    """Template that names `{asset}` and maybe `{channel}`: `plant/{asset}/{channel}`."""
    asset: str = ""
    """Fixed asset name where the topic has none."""
    time: TimeRule | None = None
    """Event time; default: time of arrival."""
    field: tuple[FieldRule, ...] = ()
    """Values to take; default: every number in the object, named by its path."""


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether an MQTT filter matches a topic (MQTT 5, section 4.7)."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for index, part in enumerate(wanted):
        if part == "#":
            return True
        if index >= len(levels) or part not in {"+", levels[index]}:
            return False
    return len(wanted) == len(levels)


def filters_to_subscribe(rules: Iterable[SourceRule]) -> list[str]:
    """Filters of the rules, less those that another covers: brokers send a message for each."""
    filters = list(dict.fromkeys(rule.match for rule in rules))
    return [
        narrow
        for narrow in filters
        if not any(_covers(wide, narrow) for wide in filters if wide != narrow)
    ]


def _covers(wide: str, narrow: str) -> bool:
    """Whether a filter matches every topic that another one does."""
    if narrow.startswith("$") and wide.startswith(("+", "#")):
        return False
    parts, wanted = wide.split("/"), narrow.split("/")
    for part, other in zip(parts, wanted, strict=False):
        if part == "#":
            return True
        if other == "#" or part not in {"+", other}:
            return False
    return len(parts) == len(wanted) or parts == [*parts[: len(wanted)], "#"]


def template_pattern(template: str) -> re.Pattern[str]:
    """Compile `plant/{asset}/{channel}` to a pattern with those groups; `+` matches one level."""
    parts = PLACEHOLDER.split(template)
    pieces = [
        f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part).replace(r"\+", "[^/]+")
        for index, part in enumerate(parts)
    ]
    return re.compile("".join(pieces))


def rule_faults(rule: SourceRule) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong with a rule: the path of the key inside the rule, and the reason."""
    try:
        topic_filter(rule.match, qos=1)
    except WireError as error:
        yield ("match",), str(error)
    yield from _template_faults(rule)
    yield from _field_faults(rule)


def _template_faults(rule: SourceRule) -> Iterator[tuple[tuple[str | int, ...], str]]:
    names = PLACEHOLDER.findall(rule.topic)
    if len(set(names)) < len(names) or re.search(r"[{}]", PLACEHOLDER.sub("", rule.topic)):
        yield ("topic",), f"expected {{asset}} and {{channel}} at most once, got {rule.topic!r}"
    if rule.topic and "asset" not in names and not rule.asset:
        yield ("topic",), f"expected {{asset}} in {rule.topic!r}, or the key asset beside it"
    if rule.asset:
        try:
            check_name(rule.asset, what="name")
        except WireError as error:
            yield ("asset",), str(error)


def _field_faults(rule: SourceRule) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if rule.format == "vedette":
        for key in ("time", "field"):
            if getattr(rule, key):
                yield (key,), 'expected none: format = "vedette" says where everything is'
    counts = Counter(field.channel or field.path for field in rule.field)
    for index, field in enumerate(rule.field):
        name = field.channel or field.path
        if counts[name] > 1:
            yield ("field", index), f"expected distinct channels, got {name!r} {counts[name]} times"
