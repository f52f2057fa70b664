"""Starts a gateway from what is on its disk, and notes where the disk turns out to be damaged."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from gateway.config import Config
from gateway.durable.ballast import Ballast
from gateway.durable.recovery import SET_BACK, SUSPECT, Recovered, recover
from gateway.edge import Edge, settings_of
from gateway.errors import SetBackError, StorageError, StorageFullError
from gateway.links import Links, open_links
from gateway.models.shelf import open_shelf_blocking
from gateway.service import Service

__all__ = ["run"]

log = logging.getLogger("vedette.gateway")

FULL_RETRY_S = 1.0


async def run(config: Config, *, folder: Path) -> None:
    """Run until SIGTERM or SIGINT; paths of models and storage are relative to `folder`.

    Starts without a broker and goes on when one goes away. Raises ConfigError, and StorageError
    when the storage turns out to be damaged: another start mends it.
    """
    models = folder / config.models.directory
    # Nothing else runs yet, and a thread would cost a memory arena.
    shelf = open_shelf_blocking(models, most_rows=config.summaries.most_rows)
    for reason in shelf.refused:
        log.warning("model refused: %s", reason)
    storage = folder / config.storage.directory
    ballast = Ballast(storage / "ballast", int(config.storage.ballast_mb * 1e6))
    recovered = await _recovered(
        lambda: recover(
            storage, lambda epoch: Edge(config, shelf, epoch=epoch), settings_of(config)
        ),
        ballast,
    )
    for fault in recovered.faults:
        log.error("storage: %s", fault)
    ballast.take()
    links = open_links(config, folder)
    with contextlib.closing(recovered.database):
        await _noting_damage(_serve(config, recovered, links, models, ballast), storage)


async def _serve(
    config: Config, recovered: Recovered, links: Links, models: Path, ballast: Ballast
) -> None:
    service = Service(config, recovered, links, models, ballast)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(service.committer.close)
        for session in links.distinct:
            await stack.enter_async_context(session.background())
        gc.collect()
        gc.freeze()
        await service.run()


async def _recovered(attempt: Callable[[], Recovered], ballast: Ballast) -> Recovered:
    """Recover; on a full disk give the ballast up, and wait until there is room."""
    told = False
    while True:
        try:
            return attempt()
        except StorageFullError as error:
            if not told:
                log.error("%s; waiting for room", error)  # noqa: TRY400 - no trace needed
            told = True
        ballast.give_up()
        await asyncio.sleep(FULL_RETRY_S)


async def _noting_damage(running: Coroutine[Any, Any, None], storage: Path) -> None:
    try:
        await running
    except* StorageError as group:
        error = next(_leaves(group))
        note = SET_BACK if isinstance(error, SetBackError) else ""
        (storage / SUSPECT).write_text(note, "ascii")
        raise error from None


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """Yield the errors of a group and of the groups in it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
