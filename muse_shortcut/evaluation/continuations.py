"""A held-out piece continued by a model, and all that its true continuation is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from muse_shortcut.api.model import Model
from muse_shortcut.config import SamplingConfig
from muse_shortcut.evaluation.windows import Window
from muse_shortcut.generation.request import Request
from muse_tokenizers.base import Constraints, Ids
from muse_tokenizers.domain import Domain
from muse_tokenizers.measures import CopyUnits, Measure

__all__ = ["CANDIDATES", "Outcome", "continue_window", "measure_windows"]

CANDIDATES = {
    "model": "the model's continuation",
    "other": "a segment of another held-out piece of the same source",
    "repeated": "the prompt's last segment, once more",
    "elsewhere": "another segment of the true piece",
}
"""What is held against the true continuation, by name. `other` and `repeated` are to be beaten; `elsewhere` is as near
as music of one piece comes to itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One window, measured."""

    window: Window
    true: dict[str, Measure]
    candidates: dict[str, dict[str, Measure]]
    """By the names of `CANDIDATES`; `elsewhere` is left out where there is none."""
    true_units: CopyUnits
    model_units: CopyUnits
    steps: int
    """That the model made."""


def continue_window(
    model: Model, window: Window, constraints: Constraints, sampling: SamplingConfig, seed: int
) -> tuple[Ids, int]:
    """What the model makes of the constraints after a window's cut, (T, K); the steps that it made."""
    words = (seed, 3, window.number, *([window.first] if window.first else []))
    own = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
    request = Request(prompt=window.prompt, sampling=sampling, constraints=constraints, seed=own)
    stream = model.start(request, trace=False)
    [made] = stream.run()
    return made.ids, stream.steps


def measure_windows(domain: Domain[Any], window: Window, ids: Ids, steps: int, length: float) -> Outcome:
    """Measure the true continuation of a window and everything it is compared with.

    Args:
        domain: of the pieces.
        window: where.
        ids: that `continue_window` made, in `steps`.
        length: of all segments, in the domain's unit.
    """
    split_point, piece = window.prompt.split_point, window.piece
    segments = {
        "model": (domain.join(window.prompt, ids), split_point),
        "other": (window.other, window.other_start),
        "repeated": (piece, window.repeated),
    }
    if window.elsewhere is not None:
        segments["elsewhere"] = (piece, window.elsewhere)
    return Outcome(
        window=window,
        true=domain.measure(piece, split_point, split_point + length),
        candidates={name: domain.measure(of, at, at + length) for name, (of, at) in segments.items()},
        true_units=domain.copy_units(window.ids, split_point, split_point + length),
        model_units=domain.copy_units(np.concatenate([window.prompt.ids, ids]), split_point, split_point + length),
        steps=steps,
    )
