"""Detects repeated bars during generation. Knows no ids."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

__all__ = ["REACH", "LoopWatch", "Strike", "is_near_equal", "is_repeat"]

REACH = 16
"""Number of previous bars with which a bar is compared."""
_SPARSE, _SPARSE_REACH = 4, 4
"""Bars with up to this many notes must be equal to count as repeats, and are compared with this many previous bars:
whole notes of a slow melody recur soon without being a loop."""

Strike = tuple[int, int, int]
"""Position in the bar, program and pitch of an onset."""


def _most_differing(notes: int) -> int:
    """Return how many notes may differ between two nearly equal bars: a tenth, but at least one."""
    return 0 if notes <= _SPARSE else max(1, notes // 10)


def is_near_equal(bar: frozenset[Strike], other: frozenset[Strike]) -> bool:
    """Whether two bars have the same onsets and pitches except for a tenth; velocities, lengths and pedals are
    ignored."""
    notes = max(len(bar), len(other))
    return notes - len(bar & other) <= _most_differing(notes)


def is_repeat(bar: frozenset[Strike], before: list[frozenset[Strike]]) -> bool:
    """Whether a bar is nearly equal to one of the bars before it, the last of which is the nearest."""
    nearby = before[: -REACH - 1 : -1]
    return any(
        is_near_equal(bar, other)
        for distance, other in enumerate(nearby, 1)
        if distance <= _SPARSE_REACH or min(len(bar), len(other)) > _SPARSE
    )


class LoopWatch:
    """Watches the bars of a piece, as sets of notes, and which of them the current bar must not repeat."""

    def __init__(self) -> None:
        self._bars: deque[frozenset[Strike]] = deque(maxlen=REACH)
        self._run = 0
        """Number of new bars at the end that are each nearly equal to an earlier one."""
        self._bar: set[Strike] = set()
        self._models: list[_Model] = []

    def from_here(self) -> LoopWatch:
        """Return a copy for which the bars so far are only models: repeats in the prompt are not counted."""
        other = LoopWatch()
        other._bars, other._bar = self._bars.copy(), self._bar.copy()
        return other

    def strike(self, position: int, program: int, pitch: int) -> None:
        """Add a note that begins in the current bar."""
        self._bar.add((position, program, pitch))
        for model in self._models:
            model.strike((position, program, pitch))

    def next_bar(self, most: int | None) -> None:
        """End the current bar and begin another.

        Args:
            most: Largest number of new bars in a row, at least 1, that may each be nearly equal to an earlier one; None
                for any.
        """
        bar = frozenset(self._bar)
        if most is not None:
            self._run = self._run + 1 if is_repeat(bar, list(self._bars)) else 0
        self._bars.append(bar)
        self._bar, self._models = set(), []
        if most is None:
            return
        models, empty = [], 0
        for distance, notes in enumerate(reversed(self._bars), 1):
            # Empty bars after this one would extend the loop, and no note could be withheld to break it.
            if notes and self._run + 1 + empty > most and (len(notes) > _SPARSE or distance <= _SPARSE_REACH):
                models.append(notes)
            empty = 0 if notes else empty + 1
        self._models = [_Model(notes) for notes in dict.fromkeys(models)]

    def withheld(self, position: int, program: int) -> set[int]:
        """Return the pitches that must not be played now, because the current bar would become a forbidden repeat."""
        found: set[int] = set()
        for model in self._models:
            pitches = model.pitches.get((position, program))
            if pitches is not None and model.is_near(position):
                found |= pitches
        return found


class _Model:
    """A bar that the current bar must not repeat.

    The first half of its notes may be played again. After that none of them may until enough notes differ, so that the
    bar changes in its middle, where many continuations remain, and not at its last note.
    """

    def __init__(self, notes: frozenset[Strike]) -> None:
        self._notes = notes
        self._places = sorted(place for place, _, _ in notes)
        self._most = _most_differing(len(notes))
        self._taken = self._taken_before = self._added = 0
        self._place = -1
        self.pitches: dict[tuple[int, int], set[int]] = {}
        for place, program, pitch in notes:
            self.pitches.setdefault((place, program), set()).add(pitch)

    def strike(self, note: Strike) -> None:
        if note[0] != self._place:
            self._place, self._taken_before = note[0], self._taken
        if note in self._notes:
            self._taken += 1
        else:
            self._added += 1

    def is_near(self, position: int) -> bool:
        """Whether the current bar has half of the notes, and may still become nearly equal."""
        if 2 * self._taken + 1 < len(self._notes):
            return False
        before = self._taken_before if self._place == position else self._taken
        left_out = bisect_left(self._places, position) - before
        return left_out <= self._most and self._added <= _most_differing(len(self._notes) + self._added)
