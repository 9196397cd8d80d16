"""Assigns new notes to one of several tracks of an instrument: two hands, two violins.

Ids have instruments, but no tracks. Notes that begin together are divided among the tracks in the order of pitch, lower
notes to lower tracks, so that the sum over notes of

    |pitch - centre of its track|  +  what a hand cannot reach  +  what the track already holds

is minimal. The centre of a track follows its latest notes. Each onset is decided from the past only, so that a growing
piece never moves a note to another track. (Voice separation by pitch proximity: Chew and Wu 2004; here with the tracks
of the prompt as voices.) For a drum kit in several tracks, each drum continues in the track that plays it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TrackLine", "assign_drums", "assign_tracks"]

_FOLLOW = 0.12
"""Step of the centre of a track towards each new note: about the last eight notes count."""
_REMEMBERED = 48
"""Number of notes at the end of the prompt from which the centre of a track is initialised."""
_REACH = 14
"""Span of a hand, or of one player, in semitones."""
_BEYOND_REACH = 3.0
"""Cost of each semitone beyond the span, in semitones."""
_CROSSING = 6.0
"""Cost of a note that crosses a note that another track holds."""


@dataclass(slots=True)
class TrackLine:
    """The line of one track: its centre, and the notes that it holds."""

    centre: float
    """Centre pitch."""
    held: list[tuple[int, int]] = field(default_factory=list)
    """(pitch, end) of notes that may still sound."""

    @classmethod
    def of(cls, notes: Iterable[Any]) -> TrackLine:
        """Build the line of a track from its notes, in any order."""
        latest = sorted(notes, key=attrgetter("time", "pitch"))[-_REMEMBERED:]
        line = cls(sum(note.pitch for note in latest) / len(latest))
        for note in latest:
            line.add(note)
        return line

    def add(self, note: Any) -> None:
        """Add a note."""
        self.centre += _FOLLOW * (note.pitch - self.centre)
        self.held.append((note.pitch, note.end))

    def release(self, tick: int) -> None:
        """Remove notes that have ended by a tick."""
        self.held = [(pitch, end) for pitch, end in self.held if end > tick]


def assign_tracks(lines: Sequence[TrackLine], notes: Sequence[Any]) -> list[int]:
    """Return the number of the track for each of some notes, in order of time; `lines` are updated.

    Args:
        lines: Two or more lines.
        notes: Notes with `time`, `end` and `pitch`.
    """
    chosen: list[int] = []
    for tick, together in groupby(notes, key=attrgetter("time")):
        for line in lines:
            line.release(tick)
        moment = list(together)
        by_pitch = sorted(range(len(moment)), key=lambda place: moment[place].pitch)
        order = sorted(range(len(lines)), key=lambda number: lines[number].centre)
        given = _divide([lines[number] for number in order], [moment[place].pitch for place in by_pitch])
        tracks = {place: order[rank] for place, rank in zip(by_pitch, given, strict=True)}
        for place, note in enumerate(moment):
            lines[tracks[place]].add(note)
            chosen.append(tracks[place])
    return chosen


def assign_drums(played: Sequence[NDArray[Any]], pitches: Sequence[int]) -> list[int]:
    """Return for each drum the number of the track that plays it most; for a new drum, the busiest track.

    Args:
        played: (N,) pitches of each track so far.
        pitches: Pitches of the new notes.
    """
    counts = np.stack([np.bincount(track, minlength=128) for track in played])
    chosen = np.where(counts.any(axis=0), counts.argmax(axis=0), counts.sum(axis=1).argmax())
    return [int(chosen[pitch]) for pitch in pitches]


def _divide(lines: Sequence[TrackLine], pitches: Sequence[int]) -> list[int]:
    """Return the rank of the line for each of some ascending pitches, non-decreasing; lines are sorted by centre."""
    count = len(pitches)
    crossing = _crossings(lines, pitches)
    # best[n]: (cost, ranks) of the first n pitches among the lines so far; with no line, only n = 0.
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for rank, line in enumerate(lines):
        held = [pitch for pitch, _ in line.held]
        highest, lowest = max(held, default=0), min(held, default=127)
        following: list[tuple[float, tuple[int, ...]]] = []
        for start, (before, ranks) in enumerate(best):
            away = across = 0.0
            for stop in range(start, count + 1):
                cost = before
                if stop > start:
                    # Extend the assignment up to the previous pitch by one.
                    top = pitches[stop - 1]
                    away += abs(top - line.centre)
                    across += crossing[rank][stop - 1]
                    reach = max(top, highest) - min(pitches[start], lowest)
                    cost = before + (away + _BEYOND_REACH * max(0, reach - _REACH)) + across
                if stop == len(following):
                    following.append((cost, (*ranks, *(rank,) * (stop - start))))
                elif cost <= following[stop][0]:
                    following[stop] = min(following[stop], (cost, (*ranks, *(rank,) * (stop - start))))
        best = following
    return list(best[count][1])


def _crossings(lines: Sequence[TrackLine], pitches: Sequence[int]) -> list[list[float]]:
    """Return the cost of each pitch on each line because of notes that lower and higher lines hold.

    The notes held below and above are accumulated from line to line.
    """
    higher = [0] * len(pitches)
    lower = [sum(pitch > other for line in lines for other, _ in line.held) for pitch in pitches]
    found = []
    for line in lines:
        for place, pitch in enumerate(pitches):
            lower[place] -= sum(pitch > other for other, _ in line.held)
        found.append([_CROSSING * (below + above) for below, above in zip(higher, lower, strict=True)])
        for place, pitch in enumerate(pitches):
            higher[place] += sum(pitch < other for other, _ in line.held)
    return found
