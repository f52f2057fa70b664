"""Rows of `summaries`, made of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert

from cloud.tables import summaries
from wire.blocks import SummaryBlock, SummaryColumns

__all__ = ["insert_summaries"]

SCALARS = (
    "start_us",
    "end_us",
    "count",
    "missing",
    "mean",
    "variance",
    "low",
    "high",
    "first",
    "last",
    "error",
)


def insert_summaries(connection: Connection, block: SummaryBlock) -> None:
    """Keep each summary of a block as one row."""
    rows = block.rows
    if not rows.count.size:
        return
    columns: dict[str, Sequence[Any]] = {name: getattr(rows, name).tolist() for name in SCALARS}
    columns["asset"] = [block.assets[index] for index in rows.asset]
    columns["channel"] = [block.channels[index] for index in rows.channel]
    columns["sketch"] = [row.tobytes() for row in rows.sketch]
    columns["knot_us"], columns["knot_value"] = _cut_knots(rows)
    connection.execute(
        insert(summaries),
        [
            {"gateway": block.gateway, **dict(zip(columns, values, strict=True))}
            for values in zip(*columns.values(), strict=True)
        ],
    )


def _cut_knots(rows: SummaryColumns) -> tuple[list[bytes], list[bytes]]:
    ends = np.cumsum(rows.knots.astype(np.int64))
    slices = [slice(end - size, end) for end, size in zip(ends, rows.knots.tolist(), strict=True)]
    return (
        [rows.knot_us[part].astype("<i8").tobytes() for part in slices],
        [rows.knot_value[part].astype("<f4").tobytes() for part in slices],
    )
