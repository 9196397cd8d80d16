"""What a segment of a piece is like, as values that can be compared. Knows no domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["CopyThreshold", "CopyUnits", "Histogram", "Measure", "Number"]

CopyThreshold = tuple[Literal["count", "length", "bars"], float]
"""What a copied run must pass to be a copy: so many of what passages count, or of the domain's unit, or bars."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """What a segment of a piece is made of: how often each of several things comes, as shares of all."""

    shares: NDArray[np.float64]
    """(N,) not negative; they sum to 1."""
    bins: tuple[str, ...]
    """N names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """What a segment of a piece is like, as one number."""

    value: float
    unit: str
    """"notes/s", "bits"; empty for a share of 1."""
    floor: float | None = None
    """Two of this number are compared by their ratio, and what is less than this counts as this; None: by their
    difference."""


Measure = Histogram | Number


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyUnits:
    """A segment of a piece as what a copied run is counted in."""

    numbers: NDArray[np.int64]
    """(N,) not negative; 0 has no predecessor, so it equals nothing that stands inside a piece."""
    places: NDArray[np.float64]
    """(N, 2): where each begins, in the domain's unit and in bars from the start of the piece; NaN where a domain has
    no bars."""

    @classmethod
    def of_codes(cls, codes: NDArray[np.int64], alphabet: int, starts: NDArray[np.float64]) -> CopyUnits:
        """Of (N,) codes below `alphabet`, each counted together with the one before it, in a domain without bars."""
        numbers = 1 + codes[:-1] * alphabet + codes[1:]
        numbers = np.concatenate([np.zeros(min(1, len(codes)), dtype=np.int64), numbers])
        return cls(numbers=numbers, places=np.stack([starts, np.full(len(codes), np.nan)], axis=1))
