"""What is known of the built-in domains without importing them.

Commands use it for `--help` and to check options and prompts, before they load anything slow: the modules of the
domains import numpy and symusic. The classes of the domains take their attributes of the same meaning from here. Cheap
to import, and imports nothing.
"""

from __future__ import annotations

__all__ = ["CONTENT_NAMES", "NOUNS", "UNITS", "WRITTEN_SUFFIXES"]

NOUNS = {"midi": "music", "audio": "sound", "text": "text"}
"""`Domain.noun` by domain."""
CONTENT_NAMES = {"midi": "MIDI", "audio": "sound", "text": "text"}
"""Name of the content of files, by domain."""
UNITS = {"midi": "seconds", "audio": "seconds", "text": "bytes"}
"""`Domain.unit` by domain."""
WRITTEN_SUFFIXES = {"midi": (".mid", ".wav"), "audio": (".wav",), "text": (".txt",)}
"""`Domain.suffix` by domain, and the suffix of the rendered sound."""
