"""Encodes notes as numbers that are invariant to transposition and time, to find copied runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.segments import DRUMS, GRID, Segment

__all__ = ["copy_numbers", "copy_onsets"]

_LONGEST_STEP = 16 * GRID
"""Time steps of sixteen beats and more are not distinguished."""
_INTERVALS = 256
"""Larger than the number of intervals from -127 to 127, 255."""


def copy_numbers(segment: Segment) -> NDArray[np.int64]:
    """Return one number per note, without drums, (N,), which encodes the step from the previous note.

    Notes are ordered by onset, those of a chord from the lowest up. With i the interval to the previous note in
    semitones and s the time step between the onsets, rounded to 1/24 beat and limited to 384,

        number = 1 + 256 s + i + 128

    The first note has no predecessor: 0. So transposition, tempo, position, instrument, loudness and length do not
    matter, and an added or missing note ends a run.
    """
    pitched = segment.program != DRUMS
    interval = np.diff(segment.pitch[pitched])
    # The difference is rounded, not the onsets: a run off the grid must not depend on its position.
    step = np.minimum(np.rint(np.diff(segment.onset[pitched]) * GRID).astype(np.int64), _LONGEST_STEP)
    numbers = np.zeros(int(pitched.sum()), dtype=np.int64)
    numbers[1:] = 1 + _INTERVALS * step + interval + 128
    return numbers


def copy_onsets(segment: Segment) -> NDArray[np.float64]:
    """Return the onsets of these notes in seconds and in bars from the start of the score, (N, 2)."""
    pitched = segment.program != DRUMS
    return np.stack([segment.onset_seconds[pitched], segment.onset_bars[pitched]], axis=1)
