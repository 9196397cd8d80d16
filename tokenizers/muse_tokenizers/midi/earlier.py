"""Rules of earlier versions, by which their sidecars are made again. Nothing new comes here."""

from __future__ import annotations

from muse_tokenizers.errors import ImpossibleWish

__all__ = ["programs_by_parts_of_names"]


def programs_by_parts_of_names(name: str) -> frozenset[int]:
    """The instruments of a name as rules 1 read it: any part of a General MIDI name meant all that have it.

    Raises:
        ImpossibleWish: no instrument is called so.
    """
    from miditok.constants import MIDI_INSTRUMENTS

    known = [str(instrument["name"]).lower() for instrument in MIDI_INSTRUMENTS]
    word = name.strip().lower()
    if word in ("drums", "drum", "percussion"):
        return frozenset({-1})
    if word.isdecimal() and int(word) < len(known):
        return frozenset({int(word)})
    if word in known:
        return frozenset({known.index(word)})
    found = frozenset(program for program, other in enumerate(known) if word and word in other)
    if not found:
        raise ImpossibleWish(f"no instrument is called {name!r}")
    return found
