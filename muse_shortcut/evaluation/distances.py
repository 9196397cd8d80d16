"""Distances of candidates from the true continuation by measure, and whether the model is the nearest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.evaluation.bootstrap import Interval, mean_interval
from muse_shortcut.evaluation.continuations import CANDIDATES, Outcome
from muse_shortcut.evaluation.overlap import overlap_interval
from muse_tokenizers.measures import FAULTS, Histogram, Measure, Number, distance, is_over

__all__ = [
    "CONTROLS",
    "Comparison",
    "Rate",
    "compare",
    "distances",
    "rates",
]

CONTROLS = ("other", "repeated")
"""The baselines."""


def distances(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Return the distances of one window from the true continuation, by measure and candidate.

    If only one of the two has a histogram (of drums, for example), the distance is the maximum, 1; if neither has it
    but another candidate does, it is 0. A number that one of the two lacks is left out.
    """
    names = dict.fromkeys(name for one in (outcome.true, *outcome.candidates.values()) for name in one)
    found: dict[str, dict[str, float]] = {}
    for name in names:
        true = outcome.true.get(name)
        seen = [true, *(measures.get(name) for measures in outcome.candidates.values())]
        shares = any(isinstance(measure, Histogram) for measure in seen)
        for candidate, measures in outcome.candidates.items():
            measure = measures.get(name)
            if true is not None and measure is not None:
                found.setdefault(name, {})[candidate] = distance(true, measure)
            elif shares:
                found.setdefault(name, {})[candidate] = 0.0 if true is measure else 1.0
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One measure, aggregated over many windows."""

    measure: str
    scale: str
    """Unit of its distances: "share" (for histograms, the total variation), "ln ratio", or a unit."""
    true_mean: float | None
    """Mean over the true continuations; None for a histogram."""
    model_mean: float | None
    means: dict[str, float]
    """Mean distance from the true continuation, by candidate."""
    counts: dict[str, int]
    """Number of windows of each mean."""
    overlaps: dict[str, Interval | None]
    """For a number: the overlapping area of its distribution over the windows with that of the true continuations, by
    candidate; None if there are too few windows, or for a histogram."""
    gains: dict[str, Interval | None]
    """Mean difference between the distance of a baseline and that of the model in the same window. If it is positive,
    the model is nearer; significantly so if the whole interval is positive."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(outcomes: Sequence[Outcome], seed: int) -> list[Comparison]:
    """Compare every measure over windows; `seed` is that of the bootstrap."""
    found = [distances(outcome) for outcome in outcomes]
    return [_compare_one(name, outcomes, found, seed) for name in dict.fromkeys(n for one in found for n in one)]


def _compare_one(
    name: str, outcomes: Sequence[Outcome], found: Sequence[dict[str, dict[str, float]]], seed: int
) -> Comparison:
    # (windows, candidates), NaN if there is nothing to compare
    table = np.array([[one.get(name, {}).get(candidate, np.nan) for candidate in CANDIDATES] for one in found])
    columns = dict(zip(CANDIDATES, table.T, strict=True))
    present = {candidate: column[~np.isnan(column)] for candidate, column in columns.items()}
    gains = {}
    for control in CONTROLS:
        difference = columns[control] - columns["model"]
        gains[control] = mean_interval(difference[~np.isnan(difference)], seed=seed)
    return Comparison(
        measure=name,
        scale=_scale(name, outcomes),
        true_mean=_mean_value([outcome.true.get(name) for outcome in outcomes]),
        model_mean=_mean_value([outcome.candidates["model"].get(name) for outcome in outcomes]),
        means={candidate: float(column.mean()) for candidate, column in present.items() if len(column)},
        counts={candidate: len(column) for candidate, column in present.items()},
        overlaps={candidate: _overlap(name, candidate, outcomes, seed) for candidate in CANDIDATES},
        gains=gains,
    )


def _overlap(name: str, candidate: str, outcomes: Sequence[Outcome], seed: int) -> Interval | None:
    true = _values([outcome.true.get(name) for outcome in outcomes])
    return overlap_interval(_values([one.candidates.get(candidate, {}).get(name) for one in outcomes]), true, seed=seed)


def _values(measures: Sequence[Measure | None]) -> NDArray[np.float64]:
    """Return the values of the numbers among the measures, as logarithms if they are compared by ratio."""
    numbers = [measure for measure in measures if isinstance(measure, Number)]
    return np.array(
        [one.value if one.floor is None else math.log(max(one.value, one.floor)) for one in numbers], dtype=np.float64
    )


def _scale(name: str, outcomes: Sequence[Outcome]) -> str:
    measures = (
        one[name] for outcome in outcomes for one in (outcome.true, *outcome.candidates.values()) if name in one
    )
    measure = next(measures)
    if isinstance(measure, Number):
        return "ln ratio" if measure.floor is not None else measure.unit or "share"
    return "share"


def _mean_value(measures: Sequence[Measure | None]) -> float | None:
    values: NDArray[np.float64] = np.array([measure.value for measure in measures if isinstance(measure, Number)])
    return float(values.mean()) if len(values) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """The rate of a fault in continuations, beside its rate in real music."""

    what: str
    model: float
    """Fraction of the windows."""
    true: float
    windows: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rates(outcomes: Sequence[Outcome]) -> list[Rate]:
    """Return the rates of windows with more than 2 s of silence and of those with more than 4 repeated bars, in domains
    that measure them."""
    found = []
    for name, limit, what, _ in FAULTS:
        pairs = [(outcome.candidates["model"].get(name), outcome.true.get(name)) for outcome in outcomes]
        both = [(m.value, t.value) for m, t in pairs if isinstance(m, Number) and isinstance(t, Number)]
        if both:
            model, true = np.array([[is_over(value, limit) for value in pair] for pair in both]).mean(0).tolist()
            found.append(Rate(what=what, model=model, true=true, windows=len(both)))
    return found
