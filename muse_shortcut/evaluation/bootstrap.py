"""Bootstrap confidence intervals of means (Efron 1987, doi 10.1080/01621459.1987.10478410)."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "mean_interval"]

RESAMPLES = 10_000
_CHUNK = 1_000
"""Resamples per block: 1,000 of 100 windows take 0.8 MB."""
_LEAST = 8
"""Number of values that must differ from the most common one. With fewer, the interval covers the mean less often than
its nominal level: if three windows of a hundred have an empty bar, most resamples have some of the three, and chance
would look significant."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: NDArray[np.float64], *, seed: int, confidence: float = 0.95) -> Interval | None:
    """Compute the BCa interval of the mean of (N,) values; None if fewer than eight differ from the most common one.

    For a paired comparison, pass the differences within the pairs. With z0 the bias correction from the resampled
    means, and a the acceleration from the jackknife, the ends are the quantiles

        Phi(z0 + (z0 + z) / (1 - a (z0 + z)))       z = Phi^-1((1 -+ confidence) / 2)
    """
    commonest = np.unique(values, return_counts=True)[1].max(initial=0)
    if len(values) - commonest < _LEAST:
        return None
    mean, deviations = float(values.mean()), values - values.mean()
    random = np.random.default_rng(seed)
    means = np.concatenate(
        [values[random.integers(len(values), size=(_CHUNK, len(values)))].mean(1) for _ in range(RESAMPLES // _CHUNK)]
    )
    # Half of the ties count, as for a median: few values give many ties.
    below = float((means < mean).mean() + (means == mean).mean() / 2)
    z0 = _NORMAL.inv_cdf(min(max(below, 1 / RESAMPLES), 1 - 1 / RESAMPLES))
    acceleration = float((deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5))
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = z0 + _NORMAL.inv_cdf(tail)
        ends.append(_NORMAL.cdf(z0 + z / (1 - acceleration * z)))
    low, high = np.quantile(means, ends).tolist()
    return Interval(mean, low, high)
