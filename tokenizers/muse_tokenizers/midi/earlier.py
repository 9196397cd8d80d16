"""Rules of earlier versions, to reproduce their sidecars. Nothing new is added here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muse_tokenizers.errors import ConstraintError
from muse_tokenizers.midi.loops import Strike

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = ["ExactLoopWatch", "first_track_like", "programs_by_parts_of_names"]


def first_track_like(score: Score, model: Track) -> list[Track]:
    """Return the first track of a score for an instrument, which used to get all its new notes; a new track if there is
    none."""
    from symusic import Track

    for track in score.tracks:
        if track.is_drum == model.is_drum and (model.is_drum or track.program == model.program):
            return [track]
    score.tracks.append(Track(program=model.program, is_drum=model.is_drum, name=model.name))
    return [score.tracks[-1]]


def programs_by_parts_of_names(name: str) -> frozenset[int]:
    """Parse an instrument by rules 1: any part of a General MIDI name selects all programs that contain it.

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
    """`LoopWatch` by rules 1: a bar is a repeat if it equals one of the four before it, and only its last note is
    withheld."""

    def __init__(self) -> None:
        self._bars: list[frozenset[Strike]] = []
        self._new = 0
        self._bar: set[Strike] = set()
        self._forbidden: list[frozenset[Strike]] = []

    def from_here(self) -> ExactLoopWatch:
        """Return a copy for which the bars so far are only models: repeats in the prompt are not counted."""
        other = ExactLoopWatch()
        other._bars, other._bar = self._bars.copy(), self._bar.copy()
        return other

    def strike(self, position: int, program: int, pitch: int) -> None:
        """Add a note that begins in the current bar."""
        self._bar.add((position, program, pitch))

    def next_bar(self, most: int | None) -> None:
        """End the current bar and begin another.

        Args:
            most: Largest number of new bars in a row, at least 1, that may each equal the bar one period before; None
                for any.
        """
        self._bars.append(frozenset(self._bar))
        self._new += 1
        self._bar, self._forbidden = set(), []
        if most is None:
            return
        for period in range(1, 5):
            if len(self._bars) < period or not self._bars[-period]:
                continue
            # Empty bars after this one would extend the loop, and no note could be withheld to break it.
            following = self._bars[len(self._bars) - period + 1 :]
            empty = next((place for place, bar in enumerate(following) if bar), len(following))
            if self._run(period) + 1 + empty > most:
                self._forbidden.append(self._bars[-period])

    def _run(self, period: int) -> int:
        """Number of new bars at the end that each equal the bar one period before."""
        new = min(self._new, len(self._bars) - period)
        places = range(1, new + 1)
        return next((p - 1 for p in places if self._bars[-p] != self._bars[-p - period]), new)

    def withheld(self, position: int, program: int) -> set[int]:
        """Return the pitches each of which would make the current bar a forbidden repeat."""
        closing = (
            next(iter(model - self._bar))
            for model in self._forbidden
            if len(model) == len(self._bar) + 1 and self._bar < model
        )
        return {pitch for place, by, pitch in closing if (place, by) == (position, program)}
