"""Source rules: which topics are taken in, and how their payloads are read."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["FieldRule", "SourceRule", "TimeRule", "template_pattern", "topic_matches"]

PLACEHOLDER = re.compile(r"\{(asset|channel)\}")


class TimeRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a payload keeps its event time; without it the time of arrival counts."""

    path: str
    """Dotted path to the field."""
    unit: Literal["s", "ms", "us", "ns", "iso"] = "ms"
    """Unit since 1970-01-01 UTC; `iso` = RFC 3339 text (without zone: UTC)."""


class FieldRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One value of a payload."""

    path: str
    """Dotted path to a number; array items by index (`points.0.v`)."""
    channel: str = ""
    """Channel name; default: the path."""
    unit: str = ""
    """Unit after scaling."""
    scale: float = 1.0
    """Factor applied to the value."""
    offset: float = 0.0
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


def template_pattern(template: str) -> re.Pattern[str]:
    """Compile `plant/{asset}/{channel}` to a pattern with those groups; `+` matches one level."""
    parts = PLACEHOLDER.split(template)
    pieces = [
        f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part).replace(r"\+", "[^/]+")
        for index, part in enumerate(parts)
    ]
    return re.compile("".join(pieces))
