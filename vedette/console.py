"""What commands tell people on stderr: as it is, for brackets in it are no markup."""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console

__all__ = ["errors", "leave"]

errors = Console(stderr=True, highlight=False, markup=False)


def leave(reason: object, *, code: int) -> NoReturn:
    """Say why on one line of stderr and end the command with an exit code."""
    errors.print(str(reason), soft_wrap=True)
    raise typer.Exit(code)
