"""Sets of sequence numbers as spans without a hole: a span costs the same however long it is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TypeAlias

__all__ = ["Span", "Spans", "length", "without"]

Span: TypeAlias = tuple[int, int]
"""First and last sequence number, both in it."""


def length(spans: Iterable[Span]) -> int:
    """Return how many numbers (count) lie in spans that do not overlap."""
    return sum(last - first + 1 for first, last in spans)


def without(span: Span, taken: Iterable[Span]) -> list[Span]:
    """Return the parts of a span that lie in none of the taken ones, which are in order."""
    parts = []
    first, last = span
    for taken_first, taken_last in taken:
        if first < taken_first:
            parts.append((first, min(last, taken_first - 1)))
        first = max(first, taken_last + 1)
    if first <= last:
        parts.append((first, last))
    return parts


class Spans:
    """A set of numbers, kept as spans in order that neither overlap nor touch."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans: list[Span] = []
        for span in spans:
            self.add(span)

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans)

    def add(self, span: Span) -> list[Span]:
        """Put a span in; return the parts of it that were not in yet, in order."""
        start, stop = self._touching(span)
        old = self._spans[start:stop]
        self._spans[start:stop] = [_hull([span, *old])]
        return without(span, old)

    def _touching(self, span: Span) -> tuple[int, int]:
        """Indexes from and to which spans overlap or touch this one."""
        first, last = span
        start = bisect_left(self._spans, first - 1, key=_last_of)
        return start, bisect_right(self._spans, last + 1, lo=start, key=_first_of)


def _first_of(span: Span) -> int:
    return span[0]


def _last_of(span: Span) -> int:
    return span[1]


def _hull(spans: list[Span]) -> Span:
    return min(map(_first_of, spans)), max(map(_last_of, spans))
