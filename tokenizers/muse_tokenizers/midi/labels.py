"""Names of MIDI numbers."""

from __future__ import annotations

from functools import cache

__all__ = ["drum_name", "pitch_name", "program_name"]

_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def pitch_name(pitch: int) -> str:
    """Return the scientific pitch notation; middle C, MIDI 60, is C4.

    >>> pitch_name(61)
    'C#4'
    """
    return f"{_CLASSES[pitch % 12]}{pitch // 12 - 1}"


def program_name(program: int) -> str:
    """Return the General MIDI name of a program from 0 to 127; "Drums" for -1."""
    from miditok.constants import MIDI_INSTRUMENTS

    return "Drums" if program < 0 else str(MIDI_INSTRUMENTS[program]["name"])


@cache
def drum_name(pitch: int) -> str:
    """Return the General MIDI name of a drum, "Drum 20" if it has none.

    >>> drum_name(38)
    'Acoustic Snare'
    """
    from pretty_midi import note_number_to_drum_name

    return str(note_number_to_drum_name(pitch) or f"Drum {pitch}")
