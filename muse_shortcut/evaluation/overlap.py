"""Overlapping area of the densities of two samples of a measure.

Source: Yang and Lerch 2018 (doi 10.1007/s00521-018-3849-7), section 4.3: kernel densities of generated and real music.
Here with Silverman's bandwidth and a bootstrap interval over windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.evaluation.bootstrap import Interval

__all__ = ["overlap", "overlap_interval"]

_LEAST = 8
"""Smallest sample of which a density is estimated."""
_RESAMPLES = 500
_PLACES = 200
"""Number of points at which densities are compared."""
_HAIR = 1e-9


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the integral of the minimum of the densities of (N,) and (M,) values, from 0 to 1; 1 if all values are
    equal."""
    together = np.concatenate([one, other])
    spread = float(together.std())
    if spread < _HAIR:
        return 1.0
    widths = [_bandwidth(values, spread) for values in (one, other)]
    places = np.linspace(together.min() - 4 * max(widths), together.max() + 4 * max(widths), _PLACES)
    densities = [_density(values, width, places) for values, width in zip((one, other), widths, strict=True)]
    area = float(np.minimum(densities[0], densities[1]).sum() * (places[1] - places[0]))
    return min(1.0, area)


def _bandwidth(values: NDArray[np.float64], spread: float) -> float:
    # Identical values still have some width, so that two such samples can be compared.
    silverman = 0.9 * float(values.std()) / float(np.power(len(values), 0.2))
    return max(silverman, 0.02 * spread)


def _density(values: NDArray[np.float64], width: float, places: NDArray[np.float64]) -> NDArray[np.float64]:
    shape = np.exp(-0.5 * ((places[:, None] - values) / width) ** 2)
    density: NDArray[np.float64] = shape.mean(1) / (width * np.sqrt(2 * np.pi))
    return density


def overlap_interval(one: NDArray[np.float64], other: NDArray[np.float64], *, seed: int) -> Interval | None:
    """Return the overlap and its 95 % bootstrap interval; None for fewer than eight values.

    A resample has fewer distinct values than the sample, so its overlap tends to be lower: the interval is shifted by
    the difference of its median from the sample's overlap.
    """
    if min(len(one), len(other)) < _LEAST:
        return None
    random = np.random.default_rng(seed)
    found = np.array(
        [
            overlap(one[random.integers(len(one), size=len(one))], other[random.integers(len(other), size=len(other))])
            for _ in range(_RESAMPLES)
        ]
    )
    mean = overlap(one, other)
    low, middle, high = np.quantile(found, (0.025, 0.5, 0.975)).tolist()
    moved = mean - middle
    return Interval(mean, max(0.0, low + moved), min(1.0, high + moved))
