"""Every kind of violation is found, and what is in order is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.chaos.synthetic import GATEWAY, URGENT, Synthetic, build, summary_of
from tests.chaos.waves import row_values, source_name, time_ms

FIRST = source_name(0)
ONE = "asset = 'chaos-00' AND channel = 'c0' AND start_us = {}"
SECOND_WINDOW = ONE.format(time_ms(51) * 1000)
LAST_WINDOW = ONE.format(time_ms(251) * 1000)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return build(tmp_path_factory.mktemp("events")).events


@pytest.fixture
def synthetic(tmp_path: Path, events: list[dict[str, Any]]) -> Synthetic:
    """The same alerts are expected whatever a test does to the log."""
    return build(tmp_path, events=events)


def test_what_is_in_order_has_no_findings(synthetic: Synthetic) -> None:
    report = synthetic.verdict()
    assert report.findings == ()
    assert report.ok
    assert (report.published, report.stored) == (1200, 1200)
    assert report.alerts_expected == report.alerts_got > 2
    assert json.dumps(report.facts())


def test_the_expected_alerts_come_from_a_run_that_nothing_disturbed(
    events: list[dict[str, Any]],
) -> None:
    assert {event["data"]["state"] for event in events} == {"opened", "closed"}
    assert all(event["seq"] == 0 for event in events)


def insert_summary(made: Synthetic, rows: list[int], *, values: list[float] | None = None) -> None:
    taken = values or [row_values(0, row, 1)["c0"] for row in rows]
    times_us = np.array([time_ms(row) * 1000 for row in rows])
    made.run(
        "INSERT INTO summaries VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(GATEWAY, FIRST, "c0", *summary_of(times_us, np.array(taken))),
    )


def disorder(made: Synthetic) -> None:
    """Two neighbouring readings came the other way round: a summary ends before time goes back."""
    made.run(f"DELETE FROM summaries WHERE {SECOND_WINDOW}")
    insert_summary(made, [*range(51, 70), 71])
    insert_summary(made, [70, *range(72, 101)])


def swap_in_window(made: Synthetic) -> None:
    made.run(f"DELETE FROM summaries WHERE {SECOND_WINDOW}")
    taken = [row_values(0, row, 1)["c0"] for row in range(51, 101)]
    insert_summary(made, list(range(51, 101)), values=[*taken[:-2], taken[-1], taken[-2]])


def twice_with_other_seq(made: Synthetic) -> None:
    body = json.dumps(made.events[-1] | {"epoch": URGENT, "seq": len(made.events) + 1})
    seq = len(made.events) + 1
    made.run("INSERT INTO alert_events VALUES (?, ?, ?, ?)", GATEWAY, URGENT, seq, body)


def invented(made: Synthetic) -> None:
    event = made.events[-1] | {"id": "no-such", "epoch": URGENT, "seq": len(made.events) + 1}
    seq, body = len(made.events) + 1, json.dumps(event)
    made.run("INSERT INTO alert_events VALUES (?, ?, ?, ?)", GATEWAY, URGENT, seq, body)


def renumber(made: Synthetic) -> None:
    made.run("UPDATE alert_events SET seq = seq + 1 WHERE seq > 1")


def same_number(made: Synthetic) -> None:
    made.run("UPDATE alert_events SET seq = 1 WHERE seq = 2")


def change_severity(made: Synthetic) -> None:
    event = made.events[0] | {"epoch": URGENT, "seq": 1}
    event = event | {"data": event["data"] | {"score": 1.0}}
    made.run("UPDATE alert_events SET payload = ? WHERE seq = 1", json.dumps(event))


def exchange_numbers(made: Synthetic) -> None:
    """The first alert's end is numbered before its begin."""
    for seq, event in ((1, made.events[1]), (2, made.events[0])):
        body = json.dumps(event | {"epoch": URGENT, "seq": seq})
        made.run("UPDATE alert_events SET payload = ? WHERE seq = ?", body, seq)


def sql(statement: str) -> Callable[[Synthetic], None]:
    return lambda made: made.run(statement)


VIOLATIONS: dict[str, tuple[Callable[[Synthetic], None], str, dict[str, int]]] = {
    "a summary in the middle is lost": (
        sql(f"DELETE FROM summaries WHERE {SECOND_WINDOW}"),
        "missing from",
        {"lost": 50},
    ),
    "the last summary is lost": (
        sql(f"DELETE FROM summaries WHERE {LAST_WINDOW}"),
        "are nowhere",
        {"lost": 50},
    ),
    "a whole stream is lost": (
        sql("DELETE FROM summaries WHERE asset = 'chaos-01' AND channel = 'c1'"),
        "are nowhere",
        {"lost": 300},
    ),
    "a reading inside a summary is lost": (
        sql(f"UPDATE summaries SET count = 49 WHERE {SECOND_WINDOW}"),
        "hold 49 readings, 50 were produced",
        {"lost": 1},
    ),
    "a reading counts twice": (
        sql(f"UPDATE summaries SET count = 51 WHERE {SECOND_WINDOW}"),
        "hold 51 readings, 50 were produced",
        {"duplicated": 1},
    ),
    "a summary is stored twice": (
        lambda made: insert_summary(made, list(range(51, 101))),
        "2 summaries from",
        {"duplicated": 50},
    ),
    "a part of a window is stored twice": (
        lambda made: insert_summary(made, list(range(90, 111))),
        "3 summaries from",
        {"duplicated": 21},
    ),
    "two readings were taken in the wrong order": (
        disorder,
        "2 summaries from",
        {"out_of_order": 1, "lost": 0, "duplicated": 0},
    ),
    "the last two readings of a summary were exchanged": (
        swap_in_window,
        "first or last value",
        {"out_of_order": 1},
    ),
    "a value is another": (
        sql(f"UPDATE summaries SET high = high + 1 WHERE {SECOND_WINDOW}"),
        "low or high",
        {},
    ),
    "a mean is another": (
        sql(f"UPDATE summaries SET mean = mean + 0.01 WHERE {SECOND_WINDOW}"),
        "mean",
        {},
    ),
    "a knot is invented": (
        sql(f"UPDATE summaries SET knot_value = zeroblob(8) WHERE {SECOND_WINDOW}"),
        "no produced reading",
        {},
    ),
    "a summary begins beside its readings": (
        sql(f"UPDATE summaries SET start_us = start_us - 1 WHERE {SECOND_WINDOW}"),
        "does not begin and end at readings",
        {},
    ),
    "something was never produced": (
        sql("UPDATE summaries SET asset = 'other' WHERE asset = 'chaos-01'"),
        "never produced",
        {},
    ),
    "what is stored is reported as lost too": (
        sql(f"INSERT INTO gaps VALUES ('{GATEWAY}', 'x', 0, 'source', '{FIRST}', 'e1', 60, 61, 0)"),
        "hold 50 readings, 48 were produced",
        {"duplicated": 4},
    ),
    "more is reported as lost than is missing": (
        sql(f"INSERT INTO gaps VALUES ('{GATEWAY}', 'x', 0, 'cap', '', 'aa-bulk', 60, 61, 7)"),
        "7 readings are reported as lost, but nothing is missing",
        {},
    ),
    "an alert message has two numbers": (twice_with_other_seq, "stored 2 times", {"duplicated": 1}),
    "an alert was invented": (invented, "nothing calls for it", {"alerts_extra": 1}),
    "an alert message is missing": (
        sql("DELETE FROM alert_events WHERE seq = 3"),
        "is missing",
        {"alerts_missing": 1},
    ),
    "the numbers of alerts have a hole": (renumber, "[2] are missing", {}),
    "a number is given twice": (same_number, "[1] are there more than once", {}),
    "an alert tells something else": (change_severity, "differs", {}),
    "an alert ends before it begins": (exchange_numbers, "follows nothing", {"out_of_order": 2}),
    "the newest message of an alert is an older one": (
        sql("UPDATE alerts SET state = 'opened'"),
        "newest messages",
        {},
    ),
    "more is said to be stored than is there": (
        sql("UPDATE ledgers SET stored_seq = stored_seq + 1"),
        "said to be stored up to",
        {},
    ),
    "messages wait behind a hole": (
        sql(f"INSERT INTO spans VALUES ('{GATEWAY}', 'aa-bulk', 7, 9)"),
        "3 messages wait behind a hole",
        {},
    ),
    "an excerpt is stored twice": (
        sql("INSERT INTO excerpts SELECT * FROM excerpts LIMIT 1"),
        "stored 2 times",
        {},
    ),
    "an excerpt lacks a row": (
        sql("UPDATE excerpts SET rows = rows - 1 WHERE asset = 'chaos-00'"),
        "holds 127 rows, 128 were produced",
        {},
    ),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_every_violation_is_found(synthetic: Synthetic, violation: str) -> None:
    spoil, words, counts = VIOLATIONS[violation]
    spoil(synthetic)
    report = synthetic.verdict()
    assert any(words in finding for finding in report.findings), report.findings
    assert not report.ok
    assert {name: getattr(report, name) for name in counts} == counts


def test_a_gap_that_the_source_caused_explains_what_is_missing(synthetic: Synthetic) -> None:
    for source in ("chaos-00", "chaos-01"):
        synthetic.run(
            f"DELETE FROM summaries WHERE asset = '{source}' AND start_us = {time_ms(251) * 1000}"
        )
        synthetic.run(
            "INSERT INTO gaps VALUES (?, ?, 0, 'source', ?, 'e1', 251, 300, 0)",
            *(GATEWAY, URGENT, source),
        )
    report = synthetic.verdict()
    assert report.findings == ()
    assert (report.stored, report.gaps, report.lost) == (1000, 200, 0)


def test_a_gap_record_without_a_place_explains_lost_summaries(synthetic: Synthetic) -> None:
    synthetic.run(f"DELETE FROM summaries WHERE {SECOND_WINDOW}")
    seq = len(synthetic.events) + 1
    synthetic.run(
        "INSERT INTO gaps VALUES (?, ?, ?, 'cap', '', 'aa-bulk', 60, 61, 50)",
        *(GATEWAY, URGENT, seq),
    )
    report = synthetic.verdict()
    assert report.findings == ()
    assert (report.stored, report.gaps, report.lost) == (1150, 50, 0)


def test_what_is_still_to_come_is_pending_until_the_run_is_over(synthetic: Synthetic) -> None:
    synthetic.run(f"DELETE FROM summaries WHERE {LAST_WINDOW}")
    synthetic.run("DELETE FROM alert_events WHERE seq > 2")
    synthetic.run("DELETE FROM alerts WHERE rowid > 1")
    report = synthetic.verdict(is_over=False)
    assert (report.pending, report.lost, report.ok) == (50, 0, True), report.findings
    assert synthetic.verdict().lost == 50


def test_the_log_must_be_without_fault_itself(synthetic: Synthetic) -> None:
    lines = synthetic.lines()
    synthetic.edit_log([*lines, lines[-1]])
    assert any("does not rise" in finding for finding in synthetic.verdict().findings)
    synthetic.edit_log([line for line in lines if line["seq"] != 7])
    assert any("have holes or repeat" in finding for finding in synthetic.verdict().findings)
