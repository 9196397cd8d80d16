"""Reads JSON files that may be edited or damaged; errors are one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json", "version_problem"]

_LARGEST = 2**28
"""Largest size of a JSON file in bytes. The largest ones that are written, sidecars, contain a prompt and its ids; an
hour of sound takes 2**27."""


def read_json(path: Path, refuse: Callable[[str], Exception]) -> Any:
    """Read a JSON file.

    Args:
        path: Path of the file.
        refuse: Builds the exception from a one-line message, if the file is missing, too large or not JSON.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise refuse(f"{path} has {size:,} bytes; allowed: up to {_LARGEST:,}")
        data = path.read_bytes()
    except OSError as error:
        raise refuse(f"cannot read {path}: {error.strerror or error}") from error
    return parse_json(data, str(path), refuse)


def parse_json(data: bytes, name: str, refuse: Callable[[str], Exception]) -> Any:
    """Parse the content of a JSON file; `name` is its name in messages."""
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise refuse(f"{name} is damaged: it is not JSON: byte {error.start:,} is not UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise refuse(f"{name} is damaged: it is not JSON from {where} on") from error
    except RecursionError as error:
        raise refuse(f"{name} is damaged: it is not JSON that a program wrote: it is nested too deep") from error
    except ValueError as error:  # an integer with thousands of digits
        raise refuse(f"{name} is damaged: it is not JSON that a program wrote: a number has too many digits") from error


def version_problem(found: object, known: int) -> str | None:
    """Return what is wrong with the version of a file, where `known` is the newest supported one; None if nothing is.

    >>> version_problem("1", 1)
    "its version is '1'; allowed: the number 1"
    """
    if type(found) is int and 1 <= found <= known:
        return None
    if type(found) is int and known < found < 1000:
        return f"it has version {found}, of a newer muse-shortcut; this one reads up to version {known}"
    allowed = "the number 1" if known == 1 else f"the numbers 1 to {known}"
    return f"its version is {repr(found)[:40]}; allowed: {allowed}"
