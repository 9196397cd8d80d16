"""JSON files that anyone may have edited or damaged: read, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json", "version_problem"]

_LARGEST = 2**28
"""Bytes. The largest that are written, sidecars, hold a prompt and its ids; an hour of sound takes 2**27."""


def read_json(path: Path, refuse: Callable[[str], Exception]) -> Any:
    """What a JSON file holds.

    Args:
        path: the file.
        refuse: makes the exception for a message of one line, when the file is missing, too large or not JSON.
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
    """The same of what has been read; `name` is what a message calls it."""
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise refuse(f"{name} is damaged: it is not JSON: byte {error.start:,} is not UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise refuse(f"{name} is damaged: it is not JSON from {where} on") from error
    except RecursionError as error:
        raise refuse(f"{name} is damaged: it is not JSON that a program wrote: it is nested too deep") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise refuse(f"{name} is damaged: it is not JSON that a program wrote: a number has too many digits") from error


def version_problem(found: object, known: int) -> str | None:
    """What is wrong with the version that a file says it has, where `known` is the newest that can be read.

    >>> version_problem("1", 1)
    "its version is '1'; allowed: the number 1"
    """
    if type(found) is int and 1 <= found <= known:
        return None
    if type(found) is int and known < found < 1000:
        return f"it has version {found}, of a newer muse-shortcut; this one reads up to version {known}"
    allowed = "the number 1" if known == 1 else f"the numbers 1 to {known}"
    return f"its version is {repr(found)[:40]}; allowed: {allowed}"
