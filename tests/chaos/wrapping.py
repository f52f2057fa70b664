"""Finds functions and methods of the product by name, and puts others in their place."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Target", "find", "replace"]

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A function in a module, or a method in a class."""

    owner: Any
    name: str
    function: Function

    @property
    def is_async(self) -> bool:
        """Whether calling it gives something to await."""
        return inspect.iscoroutinefunction(self.function)


def find(dotted: str) -> Target:
    """Resolve a dotted path such as `wire.mqtt.Session.publish`; raise LookupError."""
    parts = dotted.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[length:-1]:
                owner = getattr(owner, part)
            function = getattr(owner, parts[-1])
        except AttributeError:
            break
        if callable(function):
            return Target(owner, parts[-1], function)
        break
    raise LookupError(f"expected a function of the product, got {dotted!r}")


def replace(dotted: str, make: Callable[[Function], Function]) -> None:
    """Put `make(function)` in the function's place, also where it was imported by name."""
    target = find(dotted)
    new = make(target.function)
    static = inspect.getattr_static(target.owner, target.name)
    if isinstance(static, staticmethod):
        new = staticmethod(new)  # type: ignore[assignment]
    setattr(target.owner, target.name, new)
    if inspect.ismodule(target.owner):
        _replace_imported(target, new)


def _replace_imported(target: Target, new: Function) -> None:
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()) if inspect.ismodule(module) else ():
            if value is target.function:
                setattr(module, name, new)
