"""Levels of sound that commands and tokenizers share. Imports nothing: it is read for every --help."""

__all__ = ["LOUDNESS", "QUIETEST"]

LOUDNESS = -16.0
"""LUFS to which the sound of a score is brought, as streaming services and podcasts are."""
QUIETEST = -60.0
"""LUFS, the least that can be asked for."""
