"""Finds free names for output files."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["free_number"]


def free_number(folder: Path, name: str) -> int:
    """Return the first number from which no NAME-number exists in a folder, so that no file is overwritten."""
    numbered = re.compile(re.escape(name) + r"-([0-9]+)\.")
    found = [numbered.match(path.name) for path in folder.iterdir()]
    return max((int(match[1]) for match in found if match), default=0) + 1
