"""Measures of a segment of a piece as values that can be compared. Knows no domain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAULTS", "CopyThreshold", "CopyUnits", "Histogram", "Measure", "Number", "distance", "is_over"]

CopyThreshold = tuple[Literal["count", "length", "bars"], float]
"""What a run must exceed to count as a copy, in the unit of runs, in the unit of the domain, or in bars."""
FAULTS = (
    ("longest_silence", 2.0, "are silent for more than 2 s", "silent for more than 2 s"),
    ("longest_loop", 4.0, "loop for more than 4 bars", "loops for more than 4 bars"),
)
"""Faults: the measure, its limit, and the plural and singular of its name."""
_HAIR = 1e-3
"""Tolerance of the limits: sums of floats miss them by less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """A distribution of a segment over several categories."""

    shares: NDArray[np.float64]
    """(N,) non-negative shares that sum to 1."""
    bins: tuple[str, ...]
    """N names of the categories."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A number that describes a segment."""

    value: float
    unit: str
    """Unit, such as "notes/s" or "bits"; empty for a share of 1."""
    floor: float | None = None
    """If set, two values are compared by their ratio, and smaller values count as this one; None compares by
    difference."""


Measure = Histogram | Number


def distance(one: Measure, other: Measure) -> float:
    """Return the distance between two measures of the same name.

    For histograms it is the total variation, half the sum of |p - q|, from 0 to 1. For numbers with a floor it is |ln(x
    / y)|, with both clamped to the floor. For other numbers it is |x - y|, in their unit.
    """
    if isinstance(one, Histogram) and isinstance(other, Histogram):
        assert one.bins == other.bins
        return float(np.abs(one.shares - other.shares).sum() / 2)
    assert isinstance(one, Number)
    assert isinstance(other, Number)
    if one.floor is None:
        return abs(one.value - other.value)
    return abs(math.log(max(one.value, one.floor) / max(other.value, one.floor)))


def is_over(value: float, limit: float) -> bool:
    """Whether a measure exceeds the limit of a fault."""
    return value > limit + _HAIR


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyUnits:
    """A segment of a piece as the sequence in which copied runs are searched."""

    numbers: NDArray[np.int64]
    """(N,) non-negative numbers; 0 has no predecessor, so it equals no number inside a piece."""
    places: NDArray[np.float64]
    """(N, 2) positions of each in the unit of the domain and in bars from the start of the piece; NaN if the domain has
    no bars."""

    @classmethod
    def of_codes(cls, codes: NDArray[np.int64], alphabet: int, starts: NDArray[np.float64]) -> CopyUnits:
        """Build the sequence from (N,) codes below `alphabet`, each combined with the one before it, in a domain
        without bars."""
        numbers = 1 + codes[:-1] * alphabet + codes[1:]
        numbers = np.concatenate([np.zeros(min(1, len(codes)), dtype=np.int64), numbers])
        return cls(numbers=numbers, places=np.stack([starts, np.full(len(codes), np.nan)], axis=1))
