"""Locates the default soundfont, and checks others before they reach the synthesiser."""

from __future__ import annotations

import hashlib
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from muse_tokenizers.errors import UnreadablePieceError

__all__ = ["LARGEST", "checked_soundfont", "default_soundfont", "hash_soundfont"]

LARGEST = 2**30
"""Largest size of a soundfont in bytes; it takes about three times as much memory."""


def default_soundfont() -> Path:
    """Return the path of TimGM6mb in the installation of pretty_midi. It is under the GPL-2, and therefore not copied.

    Raises:
        UnreadablePieceError: The file is missing from pretty_midi's installation.
    """
    spec = find_spec("pretty_midi")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "TimGM6mb.sf2"
        if path.is_file():
            return path
    raise UnreadablePieceError(
        "pretty_midi's soundfont TimGM6mb.sf2 is not installed; name another with {soundfont}", options=("soundfont",)
    )


def checked_soundfont(soundfont: str | Path | None) -> Path:
    """Check the path of a soundfont; None gives the default one.

    Raises:
        UnreadablePieceError: The file is missing, not a regular file, too large, or does not begin like a soundfont.
    """
    font = default_soundfont() if soundfont is None else Path(soundfont)
    try:
        # A pipe or a device may be endless, and opening it may block forever.
        status = font.stat()
        header = b""
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            with font.open("rb") as file:
                header = file.read(12)
    except OSError as error:
        raise UnreadablePieceError(f"cannot read the soundfont {font}: {error.strerror}") from error
    except ValueError as error:
        raise UnreadablePieceError(f"cannot read the soundfont {str(font)!r}: that is not a valid file name") from error
    if not (header.startswith(b"RIFF") and header.endswith(b"sfbk")):
        raise UnreadablePieceError(f"{font} is not a soundfont: it should be an .sf2 or .sf3 file")
    if status.st_size > LARGEST:
        size = f"{status.st_size / 2**30:.1f} GiB"
        raise UnreadablePieceError(f"the soundfont {font} has {size}; allowed: up to {LARGEST / 2**30:g} GiB")
    return font


def hash_soundfont(font: Path) -> dict[str, Any]:
    """Return name and SHA-256 of a checked soundfont. Raises UnreadablePieceError."""
    try:
        with font.open("rb") as file:
            return {"soundfont": font.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise UnreadablePieceError(f"cannot read the soundfont {font}: {error.strerror}") from error
