"""Which of several tracks of one instrument a new note belongs to: two hands, two violins.

Ids know an instrument, not its tracks. The notes that begin together are divided among the tracks in the order of
pitch, lower notes to lower tracks, so that the sum over notes of

    |pitch - centre of its track|  +  what a hand cannot reach  +  what the track already holds

is least. A track's centre follows its latest notes. Each moment is decided from what came before it alone, so that a
piece that grows never moves a note to another track. (Voice separation by pitch proximity: Chew & Wu 2004; here with
the tracks of the prompt as voices.) Of a drum kit in several tracks each drum goes on in the track that plays it.
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
"""How far a track's centre moves towards each new note: about the last eight count."""
_REMEMBERED = 48
"""Notes of the prompt's end from which a track's centre starts."""
_REACH = 14
"""Semitones between the lowest and the highest note that one hand, or one player, has at a time."""
_BEYOND_REACH = 3.0
"""What each semitone beyond it costs, in semitones."""
_CROSSING = 6.0
"""What a note costs that lies on the wrong side of what another track is still holding."""


@dataclass(slots=True)
class TrackLine:
    """One track as a line of notes: where it has been, and what it holds."""

    centre: float
    """Pitch around which it moves."""
    held: list[tuple[int, int]] = field(default_factory=list)
    """(pitch, end) of its notes that may still sound."""

    @classmethod
    def of(cls, notes: Iterable[Any]) -> TrackLine:
        """Of a track's notes, in any order."""
        latest = sorted(notes, key=attrgetter("time", "pitch"))[-_REMEMBERED:]
        line = cls(sum(note.pitch for note in latest) / len(latest))
        for note in latest:
            line.add(note)
        return line

    def add(self, note: Any) -> None:
        """A note is its own from now on."""
        self.centre += _FOLLOW * (note.pitch - self.centre)
        self.held.append((note.pitch, note.end))

    def release(self, tick: int) -> None:
        """Forget what has ended by a tick."""
        self.held = [(pitch, end) for pitch, end in self.held if end > tick]


def assign_tracks(lines: Sequence[TrackLine], notes: Sequence[Any]) -> list[int]:
    """For each of some notes, in the order of time, the number of its track; `lines` follow what they are given.

    Args:
        lines: two or more.
        notes: with `time`, `end` and `pitch`.
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
    """For each of some drums the number of the track that plays it most; of one that none plays, the busiest.

    Args:
        played: (N,) pitches of each track so far.
        pitches: of the new notes.
    """
    counts = np.stack([np.bincount(track, minlength=128) for track in played])
    chosen = np.where(counts.any(axis=0), counts.argmax(axis=0), counts.sum(axis=1).argmax())
    return [int(chosen[pitch]) for pitch in pitches]


def _divide(lines: Sequence[TrackLine], pitches: Sequence[int]) -> list[int]:
    """For rising pitches the rank of each one's line, never falling; lines are in the order of their centres."""
    count = len(pitches)
    crossing = _crossings(lines, pitches)
    # best[n]: (cost, ranks) of the first n pitches among the lines so far; before there is a line, none of none.
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
                    # Of what has been added up to the last pitch, one more.
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
    """For each line, what each pitch costs there because of what lower and higher lines hold.

    The notes held below and above each line are counted as the lines go by, not anew for each.
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
