"""Sound levels that commands and tokenizers share. Imports nothing, because every --help reads it."""

__all__ = ["LOUDNESS", "QUIETEST"]

LOUDNESS = -16.0
"""Default loudness of a rendered score in LUFS, similar to that of streaming services and podcasts."""
QUIETEST = -60.0
"""Smallest loudness that can be requested, in LUFS."""
