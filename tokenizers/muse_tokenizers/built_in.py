"""What is known of the built-in domains without importing them.

Commands use it for `--help` and to check options and prompts, before they load anything slow: the modules of the
domains import numpy and symusic. The classes of the domains take their attributes of the same meaning from here. Cheap
to import, and imports nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

__all__ = [
    "CONTENT_NAMES",
    "DEFAULT_LENGTHS",
    "NOUNS",
    "OPTION_DOMAINS",
    "UNITS",
    "WRITTEN_SUFFIXES",
    "refused_option",
]

NOUNS = {"midi": "music", "audio": "sound", "text": "text"}
"""`Domain.noun` by domain."""
CONTENT_NAMES = {"midi": "MIDI", "audio": "sound", "text": "text"}
"""Name of the content of files, by domain."""
UNITS: dict[str, Literal["seconds", "bytes"]] = {"midi": "seconds", "audio": "seconds", "text": "bytes"}
"""`Domain.unit` by domain."""
DEFAULT_LENGTHS = {"seconds": 20.0, "bytes": 800.0}
"""Default length of a continuation, by unit."""
WRITTEN_SUFFIXES = {"midi": (".mid", ".wav"), "audio": (".wav",), "text": (".txt",)}
"""`Domain.suffix` by domain, and the suffix of the rendered sound."""
OPTION_DOMAINS = {
    "prompt_seconds": ("midi", "audio"), "seconds": ("midi", "audio"), "bytes": ("text",), "bars": ("midi",),
    "instruments": ("midi",), "key": ("midi",), "tempo": ("midi",), "silence": ("midi",), "repeats": ("midi",),
    "soundfont": ("midi",), "loudness": ("midi",), "encoding": ("text",),
}  # fmt: skip
"""Options of a continuation that only some domains have."""


def refused_option(name: str, domain: str, written: Callable[[str], str] = str) -> str | None:
    """Return why a domain does not have an option, in one sentence; None if it has it.

    Args:
        name: Name of the option.
        domain: A built-in domain.
        written: Returns the option as the user writes it: `--top-k` for `top_k`.
    """
    domains = OPTION_DOMAINS.get(name)
    if domains is None or domain in domains:
        return None
    is_length = name in DEFAULT_LENGTHS or name == "bars"
    length = f"; {NOUNS[domain]} takes {written(UNITS[domain])}" if is_length else ""
    others = " and ".join(NOUNS[one] for one in domains)
    return f"{written(name)} is an option of {others}, not of {NOUNS[domain]}{length}"
