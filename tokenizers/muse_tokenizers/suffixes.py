"""What a file's suffix says of its domain; `contents` knows better. Cheap to import."""

from __future__ import annotations

from pathlib import Path

__all__ = ["MIDI", "TEXT", "kind_by_suffix"]

MIDI = frozenset({".kar", ".mid", ".midi", ".rmi"})
TEXT = frozenset({".txt", ".text", ".md"})


def kind_by_suffix(path: Path) -> str | None:
    """ "midi", "audio" or "text" by a file's ending; None where it is no domain's."""
    from muse_tokenizers.audio.waveforms import MEDIA_SUFFIXES, SUFFIXES

    suffix = path.suffix.lower()
    # Also what only an extra reads: the reader says which.
    known = {"midi": MIDI, "audio": SUFFIXES | MEDIA_SUFFIXES, "text": TEXT}
    return next((domain for domain, suffixes in known.items() if suffix in suffixes), None)
