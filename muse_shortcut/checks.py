"""Checks of option and configuration values; a violation is reported in one line."""

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
"""Largest values of the length options, a day or so of music or sound. All lengths must be positive."""


def require_range(option: str, value: float | None, *, or_none: bool = False) -> None:
    """Check that a length is positive and within its limit.

    Args:
        option: Name of the option in Python.
        value: Value of the option; None is always valid.
        or_none: The option also accepts 0 for "no limit", which the caller has already replaced by None.

    Raises:
        OptionError: The value is out of its range.
    """
    most = RANGES[option]
    if value is not None and not (type(value) in (int, float) and 0 < value <= most):
        other = ", or 0 for any" if or_none else ""
        raise OptionError(option, value, f"more than 0, up to {most:,}{other}")


def require(holds: bool, name: str, found: object, allowed: str) -> None:
    """Raise OptionError unless the condition holds."""
    if not holds:
        raise OptionError(name, found, allowed)


def require_types(config: object) -> None:
    """Check the types of numeric and Boolean fields: a value that was read from a file may have any type."""
    for item in fields(config):  # type: ignore[arg-type]
        value, name = getattr(config, item.name), item.name
        if item.type == "int":
            require(type(value) is int, name, value, "a whole number")
        elif item.type == "float":
            require(type(value) in (int, float) and math.isfinite(value), name, value, "a finite number")
        elif item.type == "bool":
            require(type(value) is bool, name, value, "true, false")


def require_source_weights(weights: object) -> None:
    """Check a mapping from the names of sources to their weights."""
    sound = isinstance(weights, dict) and all(
        isinstance(name, str) and type(weight) in (int, float) and 0 <= weight <= 1000
        for name, weight in weights.items()
    )
    require(sound, "source_weights", weights, "sources and weights from 0 to 1000")


def require_sources(weights: Mapping[str, float], sources: Collection[str]) -> None:
    """Check that all weighted sources exist, and that at least one has a positive weight."""
    for name in weights:
        if name not in sources:
            raise ArgumentsError(
                f"train.source_weights has {name!r}; the sources are {', '.join(dict.fromkeys(sources))}"
            )
    if not any(weights.get(source, 1.0) for source in sources):
        raise ArgumentsError("train.source_weights leaves nothing to learn from; allowed: at least one weight above 0")
