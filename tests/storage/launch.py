"""A gateway that is started in another way than by its own module."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.gateway.running import Gateway

__all__ = ["PLAIN", "launched"]

ROOT = Path(__file__).parents[2]
PLAIN = ("gateway",)


@contextlib.contextmanager
def launched(
    folder: Path, url: str, *, more: str = "", module: Sequence[str] = PLAIN
) -> Iterator[Gateway]:
    """Run a gateway for as long as the context lasts; `module` and its own arguments run it."""
    folder.mkdir(exist_ok=True)
    config = folder / "gateway.toml"
    config.write_text(f'[site]\nurl = "{url}"\n{more}', "utf-8")
    with (folder / "gateway.log").open("ab") as log:
        command = [sys.executable, "-m", *module, "--config", str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    try:
        yield Gateway(folder, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
