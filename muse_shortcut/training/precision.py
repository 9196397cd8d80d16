"""Chooses the precision of a training's forward pass, by measuring it where hardware differs too much for a rule."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from muse_shortcut.devices import choose_precision
from muse_shortcut.errors import CheckpointError
from muse_shortcut.model.core import Core

__all__ = ["step_seconds", "training_precision"]

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_MEASURED_FROM = 1_000_000
"""Parameters. Smaller cores gain nothing: their time goes into calls rather than products."""
_BUDGET = 0.5
"""Seconds of measurement, after one pass in each precision to warm up."""
_ROUNDS = 3
"""Number of rounds at least, whatever they take."""
_POSITIONS = 256
"""Length of the window that is measured."""
_GAIN = 1.15
"""Ratio from which bfloat16 is worth its rounding. Chips are far from it on either side (EXPERIMENTS.md), so that two
measurements on one machine agree."""


def training_precision(name: str, core: Core, facts: Mapping[str, Any], *, resumed: bool) -> torch.dtype:
    """Return the data type of a training's forward pass.

    Args:
        name: "float32", "bfloat16" or "auto". On a CPU, auto measures a core of a million parameters or more; on other
            devices it uses bfloat16 where the hardware computes in it.
        core: The core, on its device. It is unchanged.
        facts: Facts of its checkpoint. A training that resumes keeps the precision recorded there.
        resumed: Whether the training resumes. Trainings from before precisions were recorded keep to the rule of then.

    Raises:
        CheckpointError: The recorded precision is neither float32 nor bfloat16.
    """
    device = core.norm.weight.device
    if resumed and "precision" in facts:
        recorded = facts["precision"]
        if not isinstance(recorded, str) or recorded not in _PRECISIONS:
            raise CheckpointError(f"the recorded precision is {recorded!r}; allowed: {', '.join(_PRECISIONS)}")
        return _PRECISIONS[recorded]
    if resumed or name != "auto" or device.type != "cpu":
        return choose_precision(name, device)
    if core.parameter_count() < _MEASURED_FROM:
        return torch.float32
    plain, half = step_seconds(core)
    return torch.bfloat16 if plain > _GAIN * half else torch.float32


def step_seconds(core: Core) -> tuple[float, float]:
    """Measure a forward and a backward pass of one short window in float32 and in bfloat16, alternating.

    Returns:
        Medians in seconds: float32, bfloat16.
    """
    config = core.config
    shape = (1, min(config.context, _POSITIONS), config.streams)
    ids = torch.zeros(shape, dtype=torch.int64, device=core.norm.weight.device)
    times: dict[torch.dtype, list[float]] = {dtype: [] for dtype in _PRECISIONS.values()}
    was_training = core.training
    core.train()
    # Dropout draws random numbers, which must not be missing from those of the training.
    with torch.random.fork_rng(devices=[]):
        for dtype in times:
            _pass(core, ids, dtype)
        began = time.perf_counter()
        while len(times[torch.float32]) < _ROUNDS or time.perf_counter() - began < _BUDGET:
            for dtype, found in times.items():
                started = time.perf_counter()
                _pass(core, ids, dtype)
                found.append(time.perf_counter() - started)
    core.train(was_training)
    core.zero_grad(set_to_none=True)
    return median(times[torch.float32]), median(times[torch.bfloat16])


def _pass(core: Core, ids: Tensor, dtype: torch.dtype) -> None:
    with torch.autocast(ids.device.type, dtype, enabled=dtype != torch.float32):
        logits = core(ids)
    logits.float().logsumexp(-1).mean().backward()
