"""Notes as numbers that stay the same when music is transposed or moved in time, to find copied runs by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.segments import DRUMS, GRID, Segment

__all__ = ["copy_numbers", "copy_onsets"]

_LONGEST_STEP = 16 * GRID
"""Time steps of sixteen beats and more are one and the same."""
_INTERVALS = 256
"""More than the 255 intervals from -127 to 127."""


def copy_numbers(segment: Segment) -> NDArray[np.int64]:
    """(N,): one number a note, drums apart: how it is reached from the note before.

    Notes are in the order of their onset, those of a chord from the lowest up. With i the interval to the note before
    in semitones and s the time step between the onsets, rounded to 1/24 beat, and 384 if it is longer,

        number = 1 + 256 s + i + 128

    The first note is reached from none: 0. So transposition, tempo, place, instrument, loudness and length do not
    matter, and an added or missing note breaks a run.
    """
    pitched = segment.program != DRUMS
    interval = np.diff(segment.pitch[pitched])
    # The difference is rounded, not the onsets: a run off the grid must not depend on where it stands.
    step = np.minimum(np.rint(np.diff(segment.onset[pitched]) * GRID).astype(np.int64), _LONGEST_STEP)
    numbers = np.zeros(int(pitched.sum()), dtype=np.int64)
    numbers[1:] = 1 + _INTERVALS * step + interval + 128
    return numbers


def copy_onsets(segment: Segment) -> NDArray[np.float64]:
    """(N, 2): when each of these notes begins, in seconds and in bars from the start of the score."""
    pitched = segment.program != DRUMS
    return np.stack([segment.onset_seconds[pitched], segment.onset_bars[pitched]], axis=1)
