"""What a configuration's fields must be, whoever wrote them: one line where they are not."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields

from muse_shortcut.errors import ArgumentsError, OptionError

__all__ = ["RANGES", "require", "require_range", "require_source_weights", "require_sources", "require_types"]

RANGES: dict[str, float] = {
    "seconds": 86_400, "prompt_seconds": 86_400, "bytes": 2**24, "prompt_bytes": 2**24, "bars": 100_000,
    "max_new_tokens": 10_000_000, "tempo": 1000, "silence": 86_400, "repeats": 100_000, "windows": 1_000_000,
}  # fmt: skip
"""The most that an option of a length may say, a day or so of music or sound. All are more than 0."""


def require_range(option: str, value: float | None, *, or_none: bool = False) -> None:
    """A length is more than 0 and no more than can ever be meant.

    Args:
        option: its name in Python.
        value: as it was given; None passes.
        or_none: 0 is allowed too where it is given, for any; here it has become None.

    Raises:
        OptionError: it is not.
    """
    most = RANGES[option]
    if value is not None and not (type(value) in (int, float) and 0 < value <= most):
        other = ", or 0 for any" if or_none else ""
        raise OptionError(option, value, f"more than 0, up to {most:,}{other}")


def require(holds: bool, name: str, found: object, allowed: str) -> None:
    """Raises OptionError: it does not hold."""
    if not holds:
        raise OptionError(name, found, allowed)


def require_types(config: object) -> None:
    """Numbers and truths are what their fields say: what was read from a file may hold anything."""
    for item in fields(config):  # type: ignore[arg-type]
        value, name = getattr(config, item.name), item.name
        if item.type == "int":
            require(type(value) is int, name, value, "a whole number")
        elif item.type == "float":
            require(type(value) in (int, float) and math.isfinite(value), name, value, "a finite number")
        elif item.type == "bool":
            require(type(value) is bool, name, value, "true, false")


def require_source_weights(weights: object) -> None:
    """Sources and how often each is met."""
    sound = isinstance(weights, dict) and all(
        isinstance(name, str) and type(weight) in (int, float) and 0 <= weight <= 1000
        for name, weight in weights.items()
    )
    require(sound, "source_weights", weights, "sources and weights from 0 to 1000")


def require_sources(weights: Mapping[str, float], sources: Collection[str]) -> None:
    """A mix names sources that are there, and leaves something of them."""
    for name in weights:
        if name not in sources:
            raise ArgumentsError(f"train.mix has {name!r}; the sources are {', '.join(dict.fromkeys(sources))}")
    if not any(weights.get(source, 1.0) for source in sources):
        raise ArgumentsError("train.mix leaves nothing to learn from; allowed: at least one weight above 0")
