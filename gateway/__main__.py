"""The gateway's process: `python -m gateway --config gateway.toml`, without the front door."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from gateway.config import choose_config
from gateway.errors import ConfigError, StorageBusyError, StorageError, StorageVersionError
from gateway.footprint import give_back_early
from gateway.start import run
from wire.mqtt import EndpointError

FINDING = 1
BAD_CONFIGURATION = 3
MENDED = "VEDETTE_GATEWAY_MENDED"
MOST_MENDED = 2


def main() -> int:
    """Run until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("--config", type=Path, help="TOML file; default: built-in settings")
    parser.add_argument("--id", help="name in topics; default: that of the file")
    parser.add_argument("--broker", help="mqtt://host:port of the site; default: that of the file")
    given = parser.parse_args()
    path: Path | None = given.config
    _log_to_stderr()
    give_back_early()
    try:
        config = choose_config(path, gateway=given.id, broker=given.broker)
        asyncio.run(run(config, folder=path.parent if path else Path.cwd()))
    except (ConfigError, EndpointError, StorageBusyError, StorageVersionError) as error:
        sys.stderr.write(f"{error}\n")
        return BAD_CONFIGURATION
    except StorageError as error:
        return _mend(error)
    return 0


def _mend(error: StorageError) -> int:
    """Start anew: a start puts damage aside. Gives up, with exit code 1, the third time."""
    logging.getLogger("vedette.gateway").error("storage: %s", error)
    mended = int(os.environ.get(MENDED, "0"))
    if mended < MOST_MENDED:
        sys.stderr.flush()
        arguments = [sys.executable, "-m", "gateway", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | {MENDED: str(mended + 1)})  # noqa: S606 - ourselves
    return FINDING


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname.lower(), "logger": record.name}
        return json.dumps({**line, "message": record.getMessage()})


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
