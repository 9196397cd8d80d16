"""Results of finished runs, one line of JSON each, in the order in which they finished."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from muse_shortcut.errors import ArgumentsError, OutputError

__all__ = ["append_result", "read_results"]


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Read the results of a comparison; an incomplete last line is ignored."""
    path = folder / "results.jsonl"
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            result = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(result, dict) or "digest" not in result:
            raise ArgumentsError(f"{path}, line {number}, is not a result of a comparison")
        found.append(result)
    return found


def append_result(folder: Path, result: dict[str, Any]) -> None:
    """Append a line in one write, on a new line if the last one is incomplete.

    Raises:
        OutputError: The file could not be written, for example because the disk is full.
    """
    path = folder / "results.jsonl"
    try:
        cut_off = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        line = ("\n" if cut_off else "") + json.dumps(result, ensure_ascii=False) + "\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
