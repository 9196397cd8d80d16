"""Names of instruments as musicians use them, as General MIDI programs (-1 for the drum kit)."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache

from muse_tokenizers.errors import InvalidConstraintError

__all__ = ["DRUMS", "instrument_programs"]

DRUMS = -1
"""Program number of the drum kit."""

_PIANOS, _EPIANOS, _ORGANS, _GUITARS = range(6), (4, 5), range(16, 21), range(24, 32)
_STRINGS, _VOICES, _SAXES = (*range(40, 46), *range(48, 52)), range(52, 55), range(64, 68)
_LEADS, _PADS = range(80, 88), range(88, 96)

_NAMED: dict[str, tuple[int, ...] | range] = {
    # Families of General MIDI, without instruments that musicians would not count among them (its strings include a
    # harp and timpani, its organs an accordion).
    "piano": _PIANOS,
    "keyboard, key": (*range(9), *_ORGANS),
    "chromatic percussion, mallet, mallet percussion, tuned percussion": range(8, 16),
    "organ": _ORGANS,
    "guitar": _GUITARS,
    "bass, bass instrument": range(32, 40),
    "string, string instrument, orchestral string": _STRINGS,
    "ensemble": range(48, 56),
    "brass, brass instrument": range(56, 64),
    "reed": range(64, 72),
    "pipe": range(72, 80),
    "woodwind, wood wind, winds, wind instrument": range(64, 76),
    "synth lead, lead, lead synth": _LEADS,
    "synth pad, pad, pad synth": _PADS,
    "synth effect, synth fx, fx": range(96, 104),
    "synth": (38, 39, 50, 51, 54, 62, 63, *_LEADS, *_PADS),
    "ethnic, world": range(104, 112),
    "percussive": range(112, 120),
    "sound effect, effect, sfx": range(120, 128),
    "orchestra": (*range(40, 50), *range(56, 62), *range(68, 74)),
    "drum, drum kit, drumkit, drum set, drumset, kit, percussion, drum machine": (DRUMS,),
    "snare, snare drum, bass drum, kick, kick drum, hi hat, hihat, tambourine, cowbell": (DRUMS,),
    # Aliases.
    "grand piano, concert grand": (0,),
    "acoustic piano, upright piano": (0, 1),
    "electric piano, e piano, epiano, rhodes, fender rhodes": _EPIANOS,
    "wurlitzer, wurli": (4,),
    "honky tonk": (3,),
    "cembalo": (6,),
    "clavinet, clavichord": (7,),
    "celeste": (8,),
    "glock": (9,),
    "vibe": (11,),
    "chime": (14,),
    "hammond, hammond organ, electric organ, jazz organ": (16, 17, 18),
    "pipe organ": (19,),
    "harmonium": (20,),
    "concertina": (21,),
    "bandoneon": (23,),
    "mouth organ, mouth harp, blues harp": (22,),
    "classical guitar, spanish guitar": (24,),
    "folk guitar, western guitar, steel string guitar": (25,),
    "electric guitar, e guitar": range(26, 31),
    "distorted guitar": (29, 30),
    "double bass, upright bass, string bass, bass fiddle": (32, 43),
    "bass guitar, electric bass, e bass": range(33, 38),
    "bass synth": (38, 39),
    "violoncello, celli": (42,),
    "contra bass": (43,),
    "string quartet": (40, 41, 42),
    "string section": (*range(40, 46), 48, 49),
    "kettledrum, kettle drum": (47,),
    "voice, vocal, vox, choir, chorus, singer, singing, human voice": _VOICES,
    "horn": (60,),
    "horn section": (61,),
    "sax": _SAXES,
    "cor anglais": (69,),
    "contrabassoon, double bassoon": (70,),
    "pan pipe, panpipe": (75,),
    "calliope": (82,),
    "bagpipe": (109,),
    "shehnai": (111,),
    "steelpan, steel pan": (114,),
    "wood block": (115,),
    "taiko": (116,),
}
"""Names in the singular that mean several programs, or a program with another name."""

_SAME_WORD = {"saxophone": "sax", "synthesizer": "synth", "synthesiser": "synth", "electrical": "electric"}
_SHORTEST_PREFIX = 4
"""Smallest number of letters that may abbreviate a word."""


def instrument_programs(name: str) -> frozenset[int]:
    """Return the programs of a number, a General MIDI name, a family, an alias, or words or prefixes of words of names.

    Whole names take precedence over families and aliases, these over whole words, and these over prefixes of words: a
    bass is never a bassoon.

    >>> sorted(instrument_programs("Double basses"))
    [32, 43]

    Raises:
        InvalidConstraintError: There is no such instrument.
    """
    number = name.strip()
    if number.isdecimal() and int(number) < 128:
        return frozenset({int(number)})
    words = _words(name)
    names, named = _general_midi(), _named()
    exact = [program for program, other in enumerate(names) if words and words == other]
    if exact or words in named:
        return frozenset(exact or named[words])
    for fits in (_is_whole, _is_prefix):
        found = [
            program
            for program, other in enumerate(names)
            if words and all(any(fits(word, there) for there in other) for word in words)
        ]
        if found:
            return frozenset(found)
    raise InvalidConstraintError(
        "instruments",
        name,
        "drums, a program from 0 to 127, a General MIDI name, or a family or word of several, such as piano, strings, "
        f"electric guitar{_hint(words)}",
    )


def _is_whole(word: str, there: str) -> bool:
    return word == there


def _is_prefix(word: str, there: str) -> bool:
    return word == there or (len(word) >= _SHORTEST_PREFIX and there.startswith(word))


def _words(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case and in the singular; none if there are only numbers.

    >>> _words("Alto Saxophones")
    ('alto', 'sax')
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name)
    words = re.findall(r"[^\W_]+", parted.casefold())
    if all(word.isdigit() for word in words):
        return ()
    return tuple(_SAME_WORD.get(word, word) for word in map(_singular, words))


def _singular(word: str) -> str:
    if word.endswith(("sses", "xes")):
        return word[:-2]
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word


@cache
def _general_midi() -> list[tuple[str, ...]]:
    from miditok.constants import MIDI_INSTRUMENTS

    return [_words(str(instrument["name"])) for instrument in MIDI_INSTRUMENTS]


@cache
def _named() -> dict[tuple[str, ...], tuple[int, ...]]:
    return {_words(name): tuple(programs) for names, programs in _NAMED.items() for name in names.split(",")}


def _hint(words: tuple[str, ...]) -> str:
    known = [" ".join(other) for other in (*_named(), *_general_midi())]
    close = get_close_matches(" ".join(words), dict.fromkeys(known), n=2, cutoff=0.75) if words else []
    return f" (did you mean {' or '.join(close)}?)" if close else ""
