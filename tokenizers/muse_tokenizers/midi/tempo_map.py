"""Converts between ticks and seconds of a score in double precision.

symusic's own conversion is in single precision, with an error of more than a millisecond after an hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["TempoMap"]

_DEFAULT = 500_000
"""Default microseconds per quarter: 120 beats per minute."""


class TempoMap:
    """The time of each tick of a score."""

    def __init__(self, score: Score) -> None:
        tempos = score.tempos.numpy()
        order = np.argsort(tempos["time"], kind="stable")
        self._ticks = np.concatenate(([0], tempos["time"][order])).astype(np.int64)
        microseconds = np.concatenate(([_DEFAULT], tempos["mspq"][order])).astype(np.float64)
        self._per_tick = microseconds / 1e6 / score.ticks_per_quarter
        self._seconds = np.concatenate(([0.0], np.cumsum(np.diff(self._ticks) * self._per_tick[:-1])))

    @property
    def last_seconds_per_tick(self) -> float:
        """Return the length of a tick after the last tempo, in seconds."""
        return float(self._per_tick[-1])

    def seconds(self, ticks: ArrayLike) -> NDArray[np.float64]:
        """Convert ticks of any shape to seconds."""
        at = np.asarray(ticks)
        section = np.maximum(np.searchsorted(self._ticks, at, side="right") - 1, 0)
        elapsed: NDArray[np.float64] = self._seconds[section] + (at - self._ticks[section]) * self._per_tick[section]
        return elapsed

    def ticks(self, seconds: ArrayLike) -> NDArray[np.float64]:
        """Convert seconds of any shape to fractional ticks."""
        at = np.asarray(seconds, dtype=np.float64)
        section = np.maximum(np.searchsorted(self._seconds, at, side="right") - 1, 0)
        found: NDArray[np.float64] = self._ticks[section] + (at - self._seconds[section]) / self._per_tick[section]
        return found
