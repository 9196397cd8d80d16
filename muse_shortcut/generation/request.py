"""Requests and step events. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.checks import require_range
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import OptionError
from muse_tokenizers.base import Constraints, Ids, Prompt

__all__ = ["ENGINES", "MAXIMUM_CANDIDATES", "Request", "StepEvent", "first_visible_step"]

MAXIMUM_CANDIDATES = 64
ENGINES = ("auto", "native", "torch")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to generate."""

    prompt: Prompt[Any]
    sampling: SamplingConfig = SamplingConfig()
    constraints: Constraints = Constraints()
    candidates: int = 1
    """Number of candidates C, generated in one batch."""
    max_steps: int | None = None
    """Largest number of new steps; None for as many as the requested length can take."""
    seed: int = 0
    forced_ids: Ids | None = None
    """(G, K) forced ids of the first new steps, those of another continuation up to a branch. None if all ids are
    sampled."""

    engine: str = "auto"
    """What computes the steps: `native`, `torch`, or `auto` for the native step where it can. Both agree within
    rounding, so the same seed may give other ids with the other one."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise OptionError("engine", self.engine, ", ".join(ENGINES))
        for option, value in (("num_samples", self.candidates), ("seed", self.seed)):
            # A sidecar may contain any value.
            if type(value) is not int:
                raise OptionError(option, value, "a whole number")
        if not 1 <= self.candidates <= MAXIMUM_CANDIDATES:
            raise OptionError("num_samples", self.candidates, f"1 to {MAXIMUM_CANDIDATES}")
        if self.seed < 0 or self.seed >= 2**63:
            raise OptionError("seed", self.seed, "0 to 2^63 - 1")
        require_range("max_new_tokens", self.max_steps)
        for name in ("bars", "seconds", "bytes", "tempo"):
            require_range(name, getattr(self.constraints, name, None))
        for name in ("silence", "repeats"):
            require_range(name, getattr(self.constraints, name, None), or_none=True)

    def stopped_after(self, steps: int) -> Request:
        """Return the request that reproduces a generation that was stopped after `steps` steps."""
        return replace(self, max_steps=max(1, steps))

    @property
    def limit(self) -> int:
        """Largest number of new steps. A requested length ends a piece much earlier: this only bounds a piece whose
        time does not advance."""
        return 4096 + self.constraints.most_steps if self.max_steps is None else self.max_steps


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One step of all candidates."""

    step: int
    """Step, counted from 0."""
    ids: Ids
    """(C, K) ids; a finished candidate is padded."""
    log_probabilities: NDArray[np.float64]
    """(C, K) log-probability of each id in nats, under the model and the grammar."""
    elapsed: NDArray[np.float64]
    """(C,) length of each continuation so far, in the unit of the domain; NaN without a grammar."""
    finished: NDArray[np.bool_]
    """(C,) bool, whether each candidate has ended."""


def first_visible_step(steps: int, context: int) -> int:
    """Return the first step of a prompt that the model sees before the first new one: of a prompt of as many steps as
    the context or more, it reads the last three quarters of a context.

    >>> first_visible_step(255, 256), first_visible_step(256, 256), first_visible_step(1000, 256)
    (0, 64, 808)
    """
    return 0 if steps < context else steps - context + context // 4
