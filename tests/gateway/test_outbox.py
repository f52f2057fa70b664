"""What waits for a broker: bounded, alerts first, and of what is retained the newest only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.outbox import Entry, Outbox

KINDS = ("alerts", "state", "status", "summaries", "excerpts")


def entry(kind: str, text: str = "x", size: int = 1) -> Entry:
    retain = kind in {"state", "status"}
    return Entry(kind, f"g/{kind}/{text}", text.encode() * size, retain)  # type: ignore[arg-type]


def drained(outbox: Outbox) -> list[str]:
    taken = []
    while one := outbox.take():
        taken.append(f"{one.kind} {one.payload[:9].decode()}")
    return taken


def test_alerts_leave_first_then_what_is_retained_then_bulk_each_in_order() -> None:
    outbox = Outbox(10**6)
    for at, kind in enumerate(["summaries", "state", "alerts", "excerpts", "status", "alerts"]):
        outbox.append(entry(kind, str(at)))
    assert drained(outbox) == [
        "alerts 2",
        "alerts 5",
        "state 1",
        "status 4",
        "summaries 0",
        "excerpts 3",
    ]
    assert outbox.size_bytes == 0
    assert outbox.take() is None


def test_of_a_retained_topic_only_the_newest_waits() -> None:
    outbox = Outbox(10**6)
    for at in range(100):
        outbox.append(Entry("status", "g/status", str(at).encode(), retain=True))
    assert outbox.pending == 1
    assert outbox.dropped == 0
    assert drained(outbox) == ["status 99"]


def test_a_long_outage_drops_the_oldest_bulk_and_no_alert() -> None:
    outbox = Outbox(20_000)
    for at in range(200):
        outbox.append(entry("summaries", f"{at:03}", 300))
        if at % 10 == 0:
            outbox.append(entry("alerts", f"{at:03}", 100))
    left = drained(outbox)
    assert [text for text in left if text.startswith("alerts")] == [
        f"alerts {at:03}{at:03}{at:03}" for at in range(0, 200, 10)
    ]
    bulk = [text for text in left if text.startswith("summaries")]
    assert bulk[-1] == "summaries 199199199"
    assert outbox.dropped == 200 - len(bulk)


def test_an_entry_larger_than_everything_is_still_published() -> None:
    outbox = Outbox(100)
    outbox.append(entry("alerts", "first", 100))
    outbox.append(entry("alerts", "later", 100))
    assert drained(outbox) == ["alerts laterlate"]
    assert outbox.dropped == 1


@given(
    st.lists(st.tuples(st.sampled_from([*KINDS, "take"]), st.integers(1, 500))),
    st.integers(1, 3000),
)
def test_bytes_and_counts_add_up(steps: list[tuple[str, int]], limit: int) -> None:
    outbox = Outbox(limit)
    queued = taken = replaced = 0
    for at, (kind, size) in enumerate(steps):
        if kind == "take":
            one = outbox.take()
            taken += one is not None
            if one:
                outbox.published(one)
        else:
            before = outbox.pending + outbox.dropped
            outbox.append(entry(kind, str(at % 3), size))
            queued += 1
            replaced += outbox.pending + outbox.dropped == before
        assert outbox.size_bytes <= limit or outbox.pending <= 1
        assert queued == taken + outbox.pending + outbox.dropped + replaced
    left = [outbox.take() for _ in range(outbox.pending)]
    assert all(left)
    assert outbox.size_bytes == 0
