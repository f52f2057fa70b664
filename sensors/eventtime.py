"""Event time: cells of a recording to microseconds since 1970-01-01 UTC and back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["iso_of", "time_parser", "zone_named"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
UNIX_SCALE_US = {"unix_s": 1_000_000, "unix_ms": 1_000, "unix_us": 1}


def time_parser(form: str, *, zone: str = "UTC") -> Callable[[object], int]:
    """Return the function from a cell to microseconds; it raises ValueError or TypeError.

    `form` is `iso`, `unix_s`, `unix_ms`, `unix_us` or a strptime pattern; raises ValueError for
    a zone that this machine does not know.
    """
    place = zone_named(zone)
    if form in UNIX_SCALE_US:
        return partial(unix_us, scale_us=UNIX_SCALE_US[form])
    if form == "iso":
        return partial(iso_us, place=place)
    return partial(pattern_us, form=form, place=place)


def zone_named(name: str) -> tzinfo:
    """Return the IANA zone; raise ValueError when this machine does not know it."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(
            f"expected an IANA time zone such as Europe/Berlin, got {name!r}"
        ) from error


def unix_us(cell: object, *, scale_us: int) -> int:
    """Read a count of units since 1970; exact for integers and decimal text in microseconds."""
    if isinstance(cell, int):
        return cell * scale_us
    return round(float(cell) * scale_us)  # type: ignore[arg-type]  # TypeError is the contract


def iso_us(cell: object, *, place: tzinfo) -> int:
    """Read ISO 8601 text or a datetime; one without an offset is local to `place`."""
    moment = cell if isinstance(cell, datetime) else datetime.fromisoformat(cell)  # type: ignore[arg-type]
    return elapsed_us(moment, place=place)


def pattern_us(cell: object, *, form: str, place: tzinfo) -> int:
    """Read text by a strptime pattern; one without an offset is local to `place`."""
    return elapsed_us(datetime.strptime(str(cell), form), place=place)  # noqa: DTZ007  # placed next


def elapsed_us(moment: datetime, *, place: tzinfo) -> int:
    """Return microseconds from 1970-01-01 UTC to the moment."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=place)
    return (moment - EPOCH) // MICROSECOND


def iso_of(t_us: int) -> str:
    """Return ISO 8601 in UTC with microseconds; raises OverflowError outside years 1 to 9999."""
    moment = EPOCH + timedelta(microseconds=t_us)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
