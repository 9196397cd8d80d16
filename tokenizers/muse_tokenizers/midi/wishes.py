"""What a person asks for, in words, as numbers: instruments and keys."""

from __future__ import annotations

from muse_tokenizers.errors import ImpossibleWish

__all__ = ["DRUMS", "parse_instruments", "parse_key"]

DRUMS = -1
"""The program number that stands for the drum kit."""

_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_MINOR = (0, 2, 3, 5, 7, 8, 10, 11)


def parse_instruments(names: tuple[str, ...]) -> frozenset[int]:
    """General MIDI programs (drums: -1) for names, parts of names, families or numbers.

    >>> sorted(parse_instruments(("violin", "drums", "0")))
    [-1, 0, 40]

    Raises:
        ImpossibleWish: no instrument is called so.
    """
    from miditok.constants import MIDI_INSTRUMENTS

    known = [str(instrument["name"]).lower() for instrument in MIDI_INSTRUMENTS]
    programs: set[int] = set()
    for name in names:
        word = name.strip().lower()
        if word in ("drums", "drum", "percussion"):
            programs.add(DRUMS)
        elif word.isdecimal() and int(word) < len(known):
            programs.add(int(word))
        elif word in known:
            programs.add(known.index(word))
        else:
            found = {program for program, other in enumerate(known) if word and word in other}
            if not found:
                raise ImpossibleWish(
                    f"no instrument is called {name!r}; allowed: drums, a program from 0 to 127, or a General MIDI "
                    "name or a part of one, such as piano, violin, electric guitar"
                )
            programs |= found
    return frozenset(programs)


def parse_key(key: str) -> frozenset[int]:
    """Pitch classes (C is 0) of a key or of a list of them. A minor key has the natural and the raised seventh.

    >>> sorted(parse_key("G major"))
    [0, 2, 4, 6, 7, 9, 11]

    Raises:
        ImpossibleWish: it is neither.
    """
    text = key.strip()
    parts = [part.strip() for part in text.split(",")]
    if all(part.isdecimal() for part in parts):
        classes = frozenset(int(part) for part in parts)
        if max(classes) < 12:
            return classes
    elif text and text[0].upper() in _NATURALS:
        rest = text[1:]
        accidental = rest[:1] if rest[:1] in ("#", "♯", "b", "♭") else ""
        mode = rest[len(accidental) :].strip()
        steps = {"": _MAJOR, "major": _MAJOR, "maj": _MAJOR, "M": _MAJOR}.get(mode) or {
            "minor": _MINOR,
            "min": _MINOR,
            "m": _MINOR,
        }.get(mode)
        if steps:
            tonic = _NATURALS[text[0].upper()] + _ACCIDENTALS[accidental]
            return frozenset((tonic + step) % 12 for step in steps)
    raise ImpossibleWish(
        f"no key is called {key!r}; allowed: a tonic and a mode such as 'C major', 'F# minor', 'Bbm', "
        "or pitch classes from 0 to 11 such as '0,4,7'"
    )
