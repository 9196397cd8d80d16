"""Mixes several channels to one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mixer"]

_WINDOW = 2**13
"""Window in which channels are compared, in frames (0.19 s at 44.1 kHz)."""
_LEAST = 0.25
"""Share of the energy that the mean of uncorrelated channels would have, below which channels cancel. Two channels of
equal level cancel if their correlation is below -0.75."""
_MOST = 0.1
"""Largest share of the energy in windows whose channels cancel."""


class Mixer:
    """Averages the channels, or selects one; it also detects whether averaging cancels sound."""

    def __init__(self, channels: int, only: int | None = None) -> None:
        self._only = only
        self._energies = np.zeros(channels)
        self._lost = 0.0

    def mix(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mix (n, C) -> (n,)."""
        if self._only is not None:
            return np.array(block[:, self._only])
        with np.errstate(over="ignore", invalid="ignore"):
            # NaN and infinity are refused by the caller.
            mono: NDArray[np.float32] = block.mean(axis=1, dtype=np.float32)
            if block.shape[1] > 1:
                starts = np.arange(0, len(block), _WINDOW)
                each = np.add.reduceat(np.square(block, dtype=np.float64), starts, axis=0)
                left = np.add.reduceat(np.square(mono, dtype=np.float64), starts)
                self._energies += each.sum(axis=0)
                # The mean of C uncorrelated channels has 1/C of their mean energy.
                unrelated = each.mean(axis=1) / block.shape[1]
                self._lost += float(each.sum(axis=1)[left < _LEAST * unrelated].sum())
        return mono

    @property
    def cancels(self) -> bool:
        """Whether averaging has lost much of the energy so far."""
        return self._lost > _MOST * float(self._energies.sum())

    @property
    def loudest(self) -> int:
        """Return the channel with the most energy, or the first one that has nearly as much, so that parts of a file
        agree."""
        return int(np.argmax(self._energies >= 0.99 * self._energies.max()))
