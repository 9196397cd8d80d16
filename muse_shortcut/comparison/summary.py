"""Statistics of finished runs: means, spreads, and differences within pairs that saw the same batches."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from muse_shortcut.comparison.plan import Plan

__all__ = ["CoreRow", "Difference", "rows_of", "runs_of"]

_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Quantiles of Student's t for two-sided 95 % intervals, by degrees of freedom from 1."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of the differences within pairs, in nats per token; negative values are better than the baseline."""

    mean: float
    half: float | None
    """Half the width of its 95 % interval (Student's t over pairs); None for a single pair."""
    error: float | None
    """Its standard error."""
    pairs: int

    def __str__(self) -> str:
        interval = "" if self.half is None else f" ± {self.half:.4f}"
        return f"{self.mean:+.4f}{interval}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreRow:
    """One core, at one learning rate, on one store or on all of them."""

    core: str
    rate: float
    runs: tuple[dict[str, Any], ...]
    validation: float
    """Mean, nats per token."""
    spread: float | None
    """Standard deviation over seeds; None for a single seed."""
    test: float
    difference: Difference | None
    """Difference of the validation loss from the baseline at the same rate, store and seed."""
    test_difference: Difference | None


def runs_of(plan: Plan, results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results that belong to a plan: those of its cores, as they are defined in it, and of its length."""
    jobs = {(job.store, job.core, job.seed, job.rate): job for job in plan.jobs()}
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        job = jobs.get((result["store"], result["core"], result["seed"], result["rate"]))
        if job is not None and job.digest(result["data"]) == result["digest"]:
            found[result["digest"]] = result
    return list(found.values())


def rows_of(plan: Plan, runs: Sequence[dict[str, Any]], stores: Sequence[str]) -> list[CoreRow]:
    """Return a row per core and rate, in the order of the plan, over some of the stores."""
    rows = []
    first = {(run["store"], run["seed"], run["rate"]): run for run in runs if run["core"] == plan.baseline}
    for core in plan.cores:
        for rate in plan.rates:
            own = [run for run in runs if (run["core"], run["rate"]) == (core, rate) and run["store"] in stores]
            if not own:
                continue
            pairs = [(run, first.get((run["store"], run["seed"], run["rate"]))) for run in own]
            both = [(run, other) for run, other in pairs if other is not None and core != plan.baseline]
            values = [run["validation"] for run in own]
            rows.append(
                CoreRow(
                    core=core,
                    rate=rate,
                    runs=tuple(own),
                    validation=statistics.fmean(values),
                    spread=statistics.stdev(values) if len(values) > 1 and len(stores) == 1 else None,
                    test=statistics.fmean(run["test"] for run in own),
                    difference=_difference([run["validation"] - other["validation"] for run, other in both]),
                    test_difference=_difference([run["test"] - other["test"] for run, other in both]),
                )
            )
    return rows


def _difference(values: list[float]) -> Difference | None:
    if not values:
        return None
    mean, pairs = statistics.fmean(values), len(values)
    if pairs == 1:
        return Difference(mean, None, None, 1)
    error = statistics.stdev(values) / math.sqrt(pairs)
    return Difference(mean, error * (_T95[pairs - 2] if pairs - 2 < len(_T95) else 1.96), error, pairs)
