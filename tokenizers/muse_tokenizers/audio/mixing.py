"""Several channels as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mixer"]

_WINDOW = 2**13
"""Frames, 0.19 s at 44.1 kHz, in which channels are compared."""
_LEAST = 0.25
"""Of the energy that the mean of unrelated channels has: with less they cancel. Of two channels as loud as each other
those whose correlation is under -0.75."""
_MOST = 0.1
"""Of all energy, how much may be in windows where channels cancel."""


class Mixer:
    """The mean of the channels, or one of them; it finds out on the way whether the mean loses what is heard."""

    def __init__(self, channels: int, only: int | None = None) -> None:
        self._only = only
        self._energies = np.zeros(channels)
        self._lost = 0.0

    def mix(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, C) -> (n,)."""
        if self._only is not None:
            return np.array(block[:, self._only])
        with np.errstate(over="ignore", invalid="ignore"):
            # What is no number is refused by whoever asks.
            mono: NDArray[np.float32] = block.mean(axis=1, dtype=np.float32)
            if block.shape[1] > 1:
                starts = np.arange(0, len(block), _WINDOW)
                each = np.add.reduceat(np.square(block, dtype=np.float64), starts, axis=0)
                left = np.add.reduceat(np.square(mono, dtype=np.float64), starts)
                self._energies += each.sum(axis=0)
                # Of C unrelated channels the mean has a C-th of their mean energy.
                unrelated = each.mean(axis=1) / block.shape[1]
                self._lost += float(each.sum(axis=1)[left < _LEAST * unrelated].sum())
        return mono

    @property
    def cancels(self) -> bool:
        """Whether the mean of what was mixed has lost much of it."""
        return self._lost > _MOST * float(self._energies.sum())

    @property
    def loudest(self) -> int:
        """The channel with most energy, the first of those that have nearly as much: a part of a file has the same."""
        return int(np.argmax(self._energies >= 0.99 * self._energies.max()))
