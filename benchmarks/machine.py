"""Facts about this machine, without which a measurement says little. No date, no host name."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vedette.broker import find_mosquitto

__all__ = ["facts", "versions"]

LIBRARIES = ("mqtt5", "msgspec", "numpy", "onnxruntime", "paho-mqtt", "aiomqtt")


def facts() -> dict[str, Any]:
    """Return processor, cores, load, Python, libraries and broker; all values are JSON."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": versions(),
        "broker": broker(),
    }


def cpu_model() -> str:
    """Return the processor's own name, or the architecture where it has none."""
    text = Path("/proc/cpuinfo").read_text("utf-8")
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of the libraries that the measured code stands on."""
    return {name: version(name) for name in LIBRARIES}


def broker() -> str:
    """Return the broker that the benchmarks use, with its version."""
    program = find_mosquitto()
    if program is None:
        return "rumqttd (embedded)"
    said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"mosquitto version ([\w.]+)", said)
    return f"mosquitto {found.group(1) if found else '?'}"
