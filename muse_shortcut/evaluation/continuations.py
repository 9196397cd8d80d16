"""A held-out piece continued by a model, and all that its true continuation is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from muse_shortcut.api.model import Model
from muse_shortcut.config import SamplingConfig
from muse_shortcut.evaluation.windows import Window
from muse_shortcut.generation.request import Request
from muse_tokenizers.base import Ids, Tokenizer, Wishes
from muse_tokenizers.measures import Measure, Passage

__all__ = ["CANDIDATES", "Outcome", "continue_window", "listen"]

CANDIDATES = {
    "model": "the model's continuation",
    "other": "a stretch of another held-out piece of the same source",
    "repeated": "the prompt's last stretch, once more",
    "elsewhere": "another stretch of the true piece",
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
    true_passage: Passage
    model_passage: Passage
    steps: int
    """That the model made."""


def continue_window(
    model: Model, window: Window, wishes: Wishes, sampling: SamplingConfig, seed: int
) -> tuple[Ids, int]:
    """What the model makes of the wishes after a window's cut, (T, K); the steps that it made."""
    words = (seed, 3, window.number, *([window.first] if window.first else []))
    own = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
    request = Request(prompt=window.prompt, sampling=sampling, wishes=wishes, seed=own)
    stream = model.start(request, trace=False)
    [made] = stream.run()
    return made.ids, stream.steps


def listen(tokenizer: Tokenizer[Any], window: Window, ids: Ids, steps: int, length: float) -> Outcome:
    """Measure the true continuation of a window and everything it is compared with.

    Args:
        tokenizer: of the pieces.
        window: where.
        ids: that `continue_window` made, in `steps`.
        length: of all stretches, in the domain's unit.
    """
    cut, piece = window.prompt.cut, window.piece
    stretches = {
        "model": (tokenizer.join(window.prompt, ids), cut),
        "other": (window.other, window.other_start),
        "repeated": (piece, window.repeated),
    }
    if window.elsewhere is not None:
        stretches["elsewhere"] = (piece, window.elsewhere)
    return Outcome(
        window=window,
        true=tokenizer.measure(piece, cut, cut + length),
        candidates={name: tokenizer.measure(of, at, at + length) for name, (of, at) in stretches.items()},
        true_passage=tokenizer.passage(window.ids, cut, cut + length),
        model_passage=tokenizer.passage(np.concatenate([window.prompt.ids, ids]), cut, cut + length),
        steps=steps,
    )
