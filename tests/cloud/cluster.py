"""A private PostgreSQL cluster on loopback, run by somebody other than root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vedette.broker import free_port

USER = "vedette"
DEBIAN = Path("/usr/lib/postgresql")
OPTIONS = "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"


def find_postgresql() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, of the newest version; None = not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


@contextmanager
def running_cluster(binaries: Path) -> Iterator[str]:
    """Make and start a cluster; yield the URL of its database."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vedette-postgresql-") as folder:
        shutil.chown(folder, user=_owner())
        data = f"{folder}/data"
        call = (binaries / "pg_ctl", "-D", data, "-w", "-t", "60")
        _run(binaries / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        _run(*call, "-l", f"{folder}/log", "-o", f"-p {port} {OPTIONS}", "start")
        try:
            yield f"postgresql+psycopg://{USER}@127.0.0.1:{port}/postgres"
        finally:
            _run(*call, "-m", "immediate", "stop")


def _owner() -> int:
    """PostgreSQL refuses to run as root: then its own user does, or nobody."""
    if os.geteuid():
        return os.geteuid()
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names["nobody"])


def _run(*command: str | Path) -> None:
    user = None if os.geteuid() == _owner() else _owner()
    subprocess.run(
        command,
        check=True,
        user=user,
        extra_groups=None if user is None else [],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
