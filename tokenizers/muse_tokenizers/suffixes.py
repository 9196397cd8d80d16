"""Determines the domain of a file by its suffix; `contents` is more reliable. Cheap to import, and imports nothing."""

from __future__ import annotations

from pathlib import Path

__all__ = ["MEDIA", "MIDI", "SOUND", "TEXT", "kind_by_suffix"]

MIDI = frozenset({".kar", ".mid", ".midi", ".rmi"})
TEXT = frozenset({".txt", ".text", ".md"})
SOUND = {
    ".wav": "WAV", ".rf64": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG", ".opus": "OGG", ".mp3": "MP3",
    ".mp2": "MP3", ".aiff": "AIFF", ".aif": "AIFF", ".aifc": "AIFF", ".w64": "W64", ".caf": "CAF", ".au": "AU",
    ".m4a": "MP4", ".m4b": "MP4", ".mp4": "MP4", ".3gp": "MP4", ".webm": "WebM", ".weba": "WebM", ".mka": "WebM",
    ".aac": "AAC", ".wma": "WMA", ".amr": "AMR",
}  # fmt: skip
"""Suffixes of sound files, with the name of their format."""
MEDIA = frozenset(suffix for suffix, name in SOUND.items() if name in ("MP4", "WebM", "AAC", "WMA", "AMR"))
"""Suffixes of formats that need PyAV."""


def kind_by_suffix(path: Path) -> str | None:
    """Return "midi", "audio" or "text" by the suffix of a file; None if it belongs to no domain."""
    suffix = path.suffix.lower()
    # Including formats that need an extra: the reader names it.
    known = {"midi": MIDI, "audio": frozenset(SOUND), "text": TEXT}
    return next((domain for domain, suffixes in known.items() if suffix in suffixes), None)
