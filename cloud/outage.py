"""Outlasts a database that is locked, full or away: work is repeated until it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cloud.batch import UNSTORABLE

__all__ = ["Outage"]

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
SHOWN = 200

T = TypeVar("T")


class Outage:
    """One user of the database, named by `what`; tells when the database goes and comes back.

    Emits `database_unavailable` (with `detail`) and `database_available`, once a change.
    """

    def __init__(self, what: str, *, emit: Callable[[Mapping[str, Any]], None]) -> None:
        self._what = what
        self._emit = emit
        self._detail = ""

    async def outlast(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns, however long that takes; so it must be repeatable.

        An error that the content of a statement causes is raised: it would come again.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                result = await work()
            except UNSTORABLE:
                raise
            except SQLAlchemyError as error:
                self._note_gone(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                self._note_back()
                return result

    def _note_gone(self, error: SQLAlchemyError) -> None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        detail = " ".join(str(cause).split())[:SHOWN] or type(cause).__name__
        if detail != self._detail:
            self._detail = detail
            self._emit({"event": "database_unavailable", "what": self._what, "detail": detail})

    def _note_back(self) -> None:
        if self._detail:
            self._detail = ""
            self._emit({"event": "database_available", "what": self._what})
