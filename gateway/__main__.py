"""The gateway's process: `python -m gateway --config gateway.toml`, without the front door."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import structlog

from gateway.config import Config, load_config
from gateway.errors import ConfigError
from gateway.service import run
from wire.mqtt import EndpointError

BAD_CONFIGURATION = 3


def main() -> int:
    """Run until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("--config", type=Path, help="TOML file; default: built-in settings")
    path: Path | None = parser.parse_args().config
    _log_to_stderr()
    try:
        config = load_config(path) if path else Config()
        asyncio.run(run(config, folder=path.parent if path else Path.cwd()))
    except (ConfigError, EndpointError) as error:
        sys.stderr.write(f"{error}\n")
        return BAD_CONFIGURATION
    return 0


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    sys.exit(main())
