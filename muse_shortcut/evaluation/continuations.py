"""Continues a held-out piece, and measures the continuation and its baselines against the true one."""

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
"""Names of everything that is compared with the true continuation. The model should be nearer than `other` and
`repeated`; `elsewhere` is a reference: the distance between two segments of the same piece."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The measures of one window."""

    window: Window
    true: dict[str, Measure]
    candidates: dict[str, dict[str, Measure]]
    """Measures by the names of `CANDIDATES`; `elsewhere` is missing if the piece has no room for it."""
    true_units: CopyUnits
    model_units: CopyUnits
    steps: int
    """Steps that the model generated."""


def continue_window(
    model: Model, window: Window, constraints: Constraints, sampling: SamplingConfig, seed: int
) -> tuple[Ids, int]:
    """Continue a window's prompt under constraints. Returns the ids (T, K) and the number of generated steps."""
    words = (seed, 3, window.number, *([window.first] if window.first else []))
    own = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
    request = Request(prompt=window.prompt, sampling=sampling, constraints=constraints, seed=own)
    stream = model.start(request, trace=False)
    [continuation] = stream.run()
    return continuation.ids, stream.steps


def measure_windows(domain: Domain[Any], window: Window, ids: Ids, steps: int, length: float) -> Outcome:
    """Measure the true continuation of a window and everything that is compared with it.

    Args:
        domain: Domain of the pieces.
        window: The window.
        ids: Ids from `continue_window`.
        steps: Number of generated steps.
        length: Length of all segments, in the unit of the domain.
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
