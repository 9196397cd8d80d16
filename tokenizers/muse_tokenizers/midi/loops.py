"""Bars that repeat, noticed while they are written. Knows no ids."""

from __future__ import annotations

__all__ = ["PERIODS", "LoopWatch"]

PERIODS = range(1, 5)
"""How many bars before a bar its model may stand."""

Strike = tuple[int, int, int]
"""Position in the bar, program, pitch."""


class LoopWatch:
    """The bars of one piece as sets of notes, and which of them the bar under way must not become."""

    def __init__(self) -> None:
        self._bars: list[frozenset[Strike]] = []
        self._new = 0
        self._bar: set[Strike] = set()
        self._forbidden: list[frozenset[Strike]] = []

    def from_here(self) -> LoopWatch:
        """A watch of its own, to which the bars so far are only models: what was given may repeat as it likes."""
        other = LoopWatch()
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
        for period in PERIODS:
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

    def closing_notes(self) -> list[Strike]:
        """The notes with each of which the bar under way would become one that it must not."""
        return [
            next(iter(model - self._bar))
            for model in self._forbidden
            if len(model) == len(self._bar) + 1 and self._bar < model
        ]
