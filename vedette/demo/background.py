"""Work in a thread that the process need not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["in_daemon_thread"]

T = TypeVar("T")


async def in_daemon_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns; once cancelled, nobody waits for it, not even at exit.

    `asyncio.to_thread` would, and a replay may be waiting for a row that is due in hours.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001 - handed over to whoever awaits it
            done.set_exception(error)

    threading.Thread(target=run, name="replay", daemon=True).start()
    return await asyncio.wrap_future(done)
