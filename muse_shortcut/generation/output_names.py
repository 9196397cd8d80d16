"""Names of outputs that are free."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["free_number"]


def free_number(folder: Path, name: str) -> int:
    """The first number from which no NAME-number is taken in a folder: nothing that is there is written over."""
    numbered = re.compile(re.escape(name) + r"-([0-9]+)\.")
    found = [numbered.match(path.name) for path in folder.iterdir()]
    return max((int(match[1]) for match in found if match), default=0) + 1
