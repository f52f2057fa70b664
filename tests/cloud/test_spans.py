from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud.spans import Span, Spans, length, without

span = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: (pair[0], sum(pair)))


def numbers(spans: list[Span]) -> list[int]:
    return [number for first, last in spans for number in range(first, last + 1)]


@given(st.lists(span, max_size=20))
def test_spans_are_a_set_of_numbers_that_tells_what_was_new(added: list[Span]) -> None:
    spans, known = Spans(), set[int]()
    for one in added:
        wanted = set(numbers([one]))
        new = spans.add(one)
        assert numbers(new) == sorted(wanted - known)
        known |= wanted
        assert numbers(list(spans)) == sorted(known)
        assert length(spans) == len(known)
    ends = list(spans)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(ends))


@given(span, st.lists(span, max_size=5))
def test_without_leaves_what_is_not_taken(whole: Span, taken: list[Span]) -> None:
    left = without(whole, Spans(taken))
    assert numbers(left) == sorted(set(numbers([whole])) - set(numbers(taken)))


def test_a_span_of_any_length_costs_nothing() -> None:
    spans = Spans([(0, 0)])
    assert spans.add((5, 2**63)) == [(5, 2**63)]
    assert spans.add((1, 10**12)) == [(1, 4)]
    assert list(spans) == [(0, 2**63)]
