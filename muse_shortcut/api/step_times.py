"""Finds the step of a continuation at a time in the piece."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from muse_shortcut.errors import OptionError
from muse_shortcut.plots.timeline import clock
from muse_tokenizers.base import Ids, Prompt
from muse_tokenizers.domain import Domain

__all__ = ["step_at"]


def step_at(domain: Domain[Any], prompt: Prompt[Any], ids: Ids, seconds: float) -> int:
    """Return the step at a time, as `Continuation.step_at` does.

    Args:
        domain: Domain of the piece.
        prompt: The prompt.
        ids: (S, K) ids of the continuation.
        seconds: Time from the beginning of the piece, in seconds.

    Raises:
        OptionError: The domain has no times, or there is no step at that time.
    """
    start = prompt.split_point
    if domain.unit != "seconds":
        raise OptionError("seconds", seconds, f"none of {domain.kind}; a step from 0 to {len(ids) - 1}")
    if domain.steps_per_second is not None:
        # Times are printed in hundredths: one that was copied finds its frame.
        step = ceil((seconds - start - 0.005) * domain.steps_per_second - 1e-6)
        if not 0 <= step < len(ids):
            end = start + len(ids) / domain.steps_per_second
            raise OptionError(
                "seconds", seconds, f"{clock(start, 2)} to {clock(end, 2)}, the times of this continuation"
            )
        return step
    tokens = domain.tokenizer.describe(np.concatenate([prompt.ids, ids]), prompt)[len(prompt.ids) :]
    begins = domain.note_starts()[ids[:, 0]]
    notes = [(token.start, number) for number, [token] in enumerate(tokens) if begins[number]]
    found = next((number for begin, number in notes if begin >= seconds), None)
    if found is None:
        times = f"{clock(start, 2)} to {clock(notes[-1][0], 2)}, where the last new note begins" if notes else "none"
        raise OptionError("seconds", seconds, times)
    return found
