"""Determines the domain of a file by its suffix; `contents` is more reliable. Cheap to import."""

from __future__ import annotations

from pathlib import Path

__all__ = ["MIDI", "TEXT", "kind_by_suffix"]

MIDI = frozenset({".kar", ".mid", ".midi", ".rmi"})
TEXT = frozenset({".txt", ".text", ".md"})


def kind_by_suffix(path: Path) -> str | None:
    """Return "midi", "audio" or "text" by the suffix of a file; None if it belongs to no domain."""
    from muse_tokenizers.audio.waveforms import MEDIA_SUFFIXES, SUFFIXES

    suffix = path.suffix.lower()
    # Including formats that need an extra: the reader names it.
    known = {"midi": MIDI, "audio": SUFFIXES | MEDIA_SUFFIXES, "text": TEXT}
    return next((domain for domain, suffixes in known.items() if suffix in suffixes), None)
