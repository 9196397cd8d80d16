"""Rules of earlier versions, by which their sidecars are made again. Nothing new comes here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muse_tokenizers.errors import ConstraintError
from muse_tokenizers.midi.loops import Strike

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = ["ExactLoopWatch", "first_track_like", "programs_by_parts_of_names"]


def first_track_like(score: Score, model: Track) -> list[Track]:
    """The score's first track for an instrument, to which all of its new notes went; a new one if it has none."""
    from symusic import Track

    for track in score.tracks:
        if track.is_drum == model.is_drum and (model.is_drum or track.program == model.program):
            return [track]
    score.tracks.append(Track(program=model.program, is_drum=model.is_drum, name=model.name))
    return [score.tracks[-1]]


def programs_by_parts_of_names(name: str) -> frozenset[int]:
    """The instruments of a name as rules 1 read it: any part of a General MIDI name meant all that have it.

    Raises:
        ConstraintError: no instrument is called so.
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
        raise ConstraintError(f"no instrument is called {name!r}")
    return found


class ExactLoopWatch:
    """`LoopWatch` by rules 1: bars count that equal one of the four before, and the last note alone is withheld."""

    def __init__(self) -> None:
        self._bars: list[frozenset[Strike]] = []
        self._new = 0
        self._bar: set[Strike] = set()
        self._forbidden: list[frozenset[Strike]] = []

    def from_here(self) -> ExactLoopWatch:
        """A watch of its own, to which the bars so far are only models: what was given may repeat as it likes."""
        other = ExactLoopWatch()
        other._bars, other._bar = self._bars.copy(), self._bar.copy()
        return other

    def strike(self, position: int, program: int, pitch: int) -> None:
        """A note begins in the bar under way."""
        self._bar.add((position, program, pitch))

    def next_bar(self, most: int | None) -> None:
        """The bar under way is whole, and another begins.

        Args:
            most: how many new bars in a row, 1 or more, may each equal the one so many bars before; None: any number.
        """
        self._bars.append(frozenset(self._bar))
        self._new += 1
        self._bar, self._forbidden = set(), []
        if most is None:
            return
        for period in range(1, 5):
            if len(self._bars) < period or not self._bars[-period]:
                continue
            # Empty bars after this one would lengthen the loop, and no note could be withheld to break it.
            following = self._bars[len(self._bars) - period + 1 :]
            empty = next((place for place, bar in enumerate(following) if bar), len(following))
            if self._run(period) + 1 + empty > most:
                self._forbidden.append(self._bars[-period])

    def _run(self, period: int) -> int:
        """New bars at the end that each equal the one so many bars before."""
        new = min(self._new, len(self._bars) - period)
        places = range(1, new + 1)
        return next((p - 1 for p in places if self._bars[-p] != self._bars[-p - period]), new)

    def withheld(self, position: int, program: int) -> set[int]:
        """The pitches with each of which the bar under way would become one that it must not."""
        closing = (
            next(iter(model - self._bar))
            for model in self._forbidden
            if len(model) == len(self._bar) + 1 and self._bar < model
        )
        return {pitch for place, by, pitch in closing if (place, by) == (position, program)}
