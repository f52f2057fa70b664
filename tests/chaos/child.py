"""Runs a program of the product in a process that was tampered with before its main began."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.chaos.crash import arm, parse_crash

__all__ = ["main"]


def main() -> int:
    """Spoil what is asked for, then be the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--crash", action="append", default=[], help="POINT[:before|after][:nth]")
    parser.add_argument("--plant", action="append", default=[], help="name of a bug to plant")
    split = sys.argv.index("--")
    given = parser.parse_args(sys.argv[1:split])
    run = PROGRAMS[given.program]()
    if given.plant:
        from tests.chaos.plants import HARMLESS, PLANTS

        for name in given.plant:
            (HARMLESS[name] if name in HARMLESS else PLANTS[name].plant)()
    for text in given.crash:
        arm(parse_crash(text))
    sys.argv = [given.program, *sys.argv[split + 1 :]]
    return run()


def _gateway() -> Callable[[], int]:
    from gateway.__main__ import main as run

    return run


def _cloud() -> Callable[[], int]:
    from vedette.cli import main as run

    return run  # type: ignore[return-value]


def _producer() -> Callable[[], int]:
    from tests.chaos.producer import main as run

    return run


PROGRAMS: dict[str, Callable[[], Callable[[], int]]] = {
    "gateway": _gateway,
    "cloud": _cloud,
    "producer": _producer,
}

if __name__ == "__main__":
    sys.exit(main())
