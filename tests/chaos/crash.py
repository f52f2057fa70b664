"""Crash points: a process ends itself (SIGKILL) right before or after a step of the product."""

from __future__ import annotations

import functools
import os
import re
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from tests.chaos.points import POINTS, Step
from tests.chaos.wrapping import find, replace

__all__ = ["Crash", "arm", "parse_crash"]

When: TypeAlias = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Crash:
    """Where a process shall end: at which step, on which side of it, at which call."""

    point: str
    when: When = "before"
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.point}:{self.when}:{self.nth}"


def parse_crash(text: str) -> Crash:
    """Read POINT[:before|after][:nth]; raise ValueError."""
    match = re.fullmatch(r"([\w.-]+)(?::(before|after))?(?::(\d+))?", text)
    if match is None or match[1] not in POINTS:
        raise ValueError(f"expected POINT[:before|after][:nth] of {sorted(POINTS)}, got {text!r}")
    return Crash(match[1], match[2] or "before", int(match[3] or 1))  # type: ignore[arg-type]


def arm(crash: Crash) -> None:
    """Make this process end at that step."""
    step = POINTS[crash.point]
    reached = _counter(crash)
    if step.statement:
        _arm_statement(re.compile(step.statement, re.IGNORECASE), reached)
    else:
        replace(step.path, lambda function: _guarded(step, function, reached))


def _counter(crash: Crash) -> Callable[[When], None]:
    calls = {"before": 0, "after": 0}

    def reached(when: When) -> None:
        calls[when] += 1
        if when == crash.when and calls[when] == crash.nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def _guarded(
    step: Step, function: Callable[..., Any], reached: Callable[[When], None]
) -> Callable[..., Any]:
    def before(given: tuple[Any, ...]) -> bool:
        counts = not step.given or re.search(step.given, repr(given)) is not None
        if counts:
            reached("before")
        return counts

    def after(result: Any, *, counts: bool) -> Any:
        if counts and (not step.result or re.search(step.result, repr(result))):
            reached("after")
        return result

    @functools.wraps(function)
    async def guarded_async(*given: Any, **named: Any) -> Any:
        counts = before(given)
        return after(await function(*given, **named), counts=counts)

    @functools.wraps(function)
    def guarded(*given: Any, **named: Any) -> Any:
        counts = before(given)
        return after(function(*given, **named), counts=counts)

    return guarded_async if find(step.path).is_async else guarded


def _arm_statement(pattern: re.Pattern[str], reached: Callable[[When], None]) -> None:
    """Watch every statement of every connection that is opened from now on."""

    def run(statement: str, call: Callable[..., Any], *given: Any) -> Any:
        if not pattern.match(statement.strip()):
            return call(*given)
        reached("before")
        result = call(*given)
        reached("after")
        return result

    factory, original = _watching(run), sqlite3.connect

    def connect(*given: Any, **named: Any) -> sqlite3.Connection:
        named.setdefault("factory", factory)
        return original(*given, **named)

    for module in (sqlite3, sqlite3.dbapi2):
        module.connect = connect  # type: ignore[assignment]


def _watching(run: Callable[..., Any]) -> type[sqlite3.Connection]:
    """Return a connection that lets `run` do its statements."""

    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, *given: Any) -> Any:
            return run(statement, super().execute, statement, *given)

        def executemany(self, statement: str, *given: Any) -> Any:
            return run(statement, super().executemany, statement, *given)

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def execute(self, statement: str, *given: Any) -> Any:
            return self.cursor().execute(statement, *given)

        def executemany(self, statement: str, *given: Any) -> Any:
            return self.cursor().executemany(statement, *given)

        def commit(self) -> None:
            run("COMMIT", super().commit)

    return Connection
