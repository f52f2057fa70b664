"""Ways in which a file goes bad."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

__all__ = ["DAMAGES", "damage"]

PAGE = 4096
MOST_BITS = 8


def flip_bits(path: Path, rng: random.Random) -> None:
    """Turn 1 to 8 bits over."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, MOST_BITS) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, rng: random.Random) -> None:
    """Cut the file off anywhere."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) + 1)])


def zero_page(path: Path, rng: random.Random) -> None:
    """Overwrite a page with zeros."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data) // PAGE + 1) * PAGE
    end = min(at + PAGE, len(data))
    data[at:end] = bytes(end - at)
    path.write_bytes(data)


def delete(path: Path, rng: random.Random) -> None:
    """Remove the file."""
    del rng
    path.unlink()


DAMAGES: Mapping[str, Callable[[Path, random.Random], None]] = MappingProxyType(
    {"bits": flip_bits, "truncated": truncate, "page": zero_page, "deleted": delete}
)


def damage(path: Path, rng: random.Random) -> str:
    """Do something to a file and say what."""
    kind = rng.choice(list(DAMAGES))
    DAMAGES[kind](path, rng)
    return f"{kind} {path.name}"
