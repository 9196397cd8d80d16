"""Constraints of a continuation of music, and the names of instruments and keys as numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from muse_tokenizers.base import Constraints
from muse_tokenizers.errors import InvalidConstraintError
from muse_tokenizers.midi.earlier import programs_by_parts_of_names
from muse_tokenizers.midi.instruments import DRUMS, instrument_programs

__all__ = ["DRUMS", "RULES", "MidiConstraints", "check_tempo", "parse_instruments", "parse_key", "refuse_parts"]

_NATURALS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}
_SCALES = {
    "major, maj, ionian": (0, 2, 4, 5, 7, 9, 11),
    "minor, min": (0, 2, 3, 5, 7, 8, 10, 11),
    "natural minor, aeolian": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "pentatonic, major pentatonic, pentatonic major": (0, 2, 4, 7, 9),
    "minor pentatonic, pentatonic minor": (0, 3, 5, 7, 10),
    "blues, minor blues": (0, 3, 5, 6, 7, 10),
    "major blues": (0, 2, 3, 4, 7, 9),
    "whole tone": (0, 2, 4, 6, 8, 10),
    "chromatic": tuple(range(12)),
}
_MODES = {name: steps for names, steps in _SCALES.items() for name in names.split(", ")}
_LETTERS = {"": "major", "M": "major", "m": "minor"}
"""Modes of one letter, the only ones whose case matters."""
_KEY = re.compile(r"([a-g])(?:(b(?!lues))|[\s_-]*(#|♯|♭|sharp|flat))?(?:[\s_-]*(\w.*))?", re.IGNORECASE)


_TEMPOS = (10.0, 400.0)
"""Beats per minute that can be asked for; those beyond the vocabulary's are scaled ones of its ends."""
RULES = 2
"""Version of the rules by which constraints are interpreted. The meaning of instruments and repeats changes only with
it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MidiConstraints(Constraints):
    """Constraints of music; each becomes a mask over ids, or determines the end."""

    length_field: ClassVar[str | None] = "seconds"

    instruments: tuple[str, ...] = ()
    """Names or numbers of the only instruments that may play; empty for any."""
    key: str | None = None
    """A key ("F# minor") or pitch classes ("0,2,4"); drums are not affected."""
    tempo: float | None = None
    """Tempo in beats per minute from the split point on."""
    keep_instruments: bool = False
    """If `instruments` is empty, allow only those of the prompt."""
    keep_tempo: bool = False
    """If `tempo` is not set, start at the prevailing tempo of the prompt, and stay inside its range."""
    bars: int | None = None
    """Length of the continuation in bars."""
    seconds: float | None = None
    """Length of the continuation in seconds."""
    silence: float | None = None
    """Longest silence in seconds; None allows any."""
    repeats: int | None = None
    """Most bars in a row that may each be nearly equal to one of the 16 before; None allows any number."""

    style: str | None = None
    """Style of the music, one of `muse_tokenizers.built_in.STYLES`; None for that of the prompt, or any."""
    hold: tuple[str, ...] = ()
    """What is led back to that of the prompt when it drifts: "dynamics" (velocities), "register" (pitches), "density"
    (notes per second), "balance" (shares of the players)."""

    rules: int = RULES
    """Version of the rules: 1 for sidecars from before version 2, to reproduce them."""

    @property
    def most_steps(self) -> int:
        return int(400 * (self.seconds or 0.0)) + 2000 * (self.bars or 0)


def refuse_parts(constraints: MidiConstraints) -> None:
    """Refuse what only a vocabulary in parts has. Raises InvalidConstraintError."""
    for name in ("style", "hold"):
        if getattr(constraints, name):
            raise InvalidConstraintError(name, getattr(constraints, name), "none with this checkpoint's vocabulary")


def check_tempo(tempo: float) -> None:
    """Check a requested tempo in beats per minute. Raises ConstraintError."""
    if not _TEMPOS[0] <= tempo <= _TEMPOS[1]:
        raise InvalidConstraintError("tempo", tempo, f"{_TEMPOS[0]:g} to {_TEMPOS[1]:g}")


def parse_instruments(names: tuple[str, ...], rules: int = RULES) -> frozenset[int]:
    """Parse instruments as General MIDI programs (-1 for drums), from names, words of names, families, aliases or
    numbers.

    >>> sorted(parse_instruments(("violin", "drums", "0")))
    [-1, 0, 40]

    Args:
        names: Names as the user writes them.
        rules: Version of the rules, see `MidiConstraints`.

    Raises:
        ConstraintError: There is no instrument of that name.
    """
    programs = programs_by_parts_of_names if rules == 1 else instrument_programs
    return frozenset(program for name in names for program in programs(name))


def parse_key(key: str) -> frozenset[int]:
    """Parse a key or a list of pitch classes as pitch classes (C is 0).

    Case is ignored, so that a tonic alone is major; only "M" and "m" differ. A minor key has the natural and the raised
    seventh; harmonic and melodic (ascending) minor have only the raised one, natural minor only the natural one.

    >>> sorted(parse_key("G major"))
    [0, 2, 4, 6, 7, 9, 11]

    Raises:
        ConstraintError: The text is neither.
    """
    text = key.strip()
    parts = [part.strip() for part in text.split(",")]
    if all(part.isdecimal() for part in parts):
        classes = frozenset(int(part) for part in parts)
        if max(classes) < 12:
            return classes
    mode, found = "", _KEY.fullmatch(text)
    if found:
        given = found[4] or ""
        mode = _LETTERS.get(given) or _mode(given)
        steps = _MODES.get(mode)
        if steps:
            tonic = _NATURALS[found[1].lower()] + _ACCIDENTALS[(found[2] or found[3] or "").lower()]
            return frozenset((tonic + step) % 12 for step in steps)
    close = [] if mode in _MODES else get_close_matches(mode, _MODES, n=1)
    raise InvalidConstraintError(
        "key",
        key,
        "a tonic (alone: major) and a mode such as 'C major', 'F# minor', 'Bbm', 'D dorian', 'A harmonic minor', "
        f"'E blues', or pitch classes from 0 to 11 such as '0,4,7'{f' (did you mean {close[0]}?)' if close else ''}",
    )


def _mode(text: str) -> str:
    """Return the name of a mode as it is in `_MODES`."""
    words = re.split(r"[\s_-]+", text.casefold())
    return " ".join(words[:-1] if len(words) > 1 and words[-1] in ("scale", "mode") else words)
