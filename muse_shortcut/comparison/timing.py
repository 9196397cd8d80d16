"""Measures the cost of a step of each core. Cores are timed in turns, so that whatever slows the machine down affects
all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from muse_shortcut.comparison.plan import Plan
from muse_shortcut.devices import choose_precision
from muse_shortcut.model.core import Core
from muse_shortcut.training.optimiser import Optimiser

__all__ = ["time_cores"]

_DECODED = 32
"""Decoding steps per measurement."""


def time_cores(
    plan: Plan, *, vocabulary_size: int, streams: int, rounds: int, device: torch.device, watch: Callable[[int], None]
) -> dict[str, dict[str, Any]]:
    """Measure the seconds of a training step on the plan's batch, and of decoding one token half-way into the context,
    for each core.

    The results are medians over rounds, and the median, minimum and maximum of the ratio to the baseline in the same
    round. The first round is a warm-up and does not count.

    Args:
        plan: Plan with the cores.
        vocabulary_size: V of the cores.
        streams: K of the cores.
        rounds: Number of measurements of each core.
        device: Device to measure on.
        watch: Called with the number of finished rounds.
    """
    cases = {name: _cases(plan, name, vocabulary_size, streams, device) for name in plan.cores}
    found = {name: {kind: list[float]() for kind in ("step", "decode")} for name in cases}
    for number in range(rounds + 1):
        for name, pair in cases.items():
            for kind, case in zip(("step", "decode"), pair, strict=True):
                seconds = case()
                if number:
                    found[name][kind].append(seconds)
        watch(number + 1)
    first = found[plan.baseline]
    return {
        name: {
            f"{kind}_{what}": value
            for kind, seconds in kinds.items()
            for what, value in _summary(seconds, first[kind]).items()
        }
        for name, kinds in found.items()
    }


def _summary(seconds: list[float], first: list[float]) -> dict[str, float]:
    ratios = [own / other for own, other in zip(seconds, first, strict=True)]
    values = {
        "seconds": statistics.median(seconds),
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_greatest": max(ratios),
    }
    return {name: float(f"{value:.5g}") for name, value in values.items()}


def _cases(
    plan: Plan, name: str, vocabulary_size: int, streams: int, device: torch.device
) -> tuple[Callable[[], float], Callable[[], float]]:
    training, model = plan.training(1.0), plan.model(name).for_vocabulary(vocabulary_size, streams)
    precision = choose_precision(training.precision, device)
    torch.manual_seed(0)
    core = Core(model).to(device)
    optimiser = Optimiser(core, training)
    shape = (training.batch_size, model.context + 1, streams)
    ids = torch.randint(vocabulary_size, shape, device=device)

    def finish() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def step() -> float:
        core.train()
        started = finish()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = core(ids[:, :-1])
        F.cross_entropy(logits.float().flatten(0, -2), ids[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
        optimiser.step(1e-9)
        optimiser.forget()
        return finish() - started

    @torch.inference_mode()
    def decode() -> float:
        core.eval()
        cache, depth = core.make_cache(1), model.context // 2
        core.prefill(ids[:1, :depth], cache)
        steps = min(_DECODED, model.context - depth)
        started = finish()
        for place in range(depth, depth + steps):
            core.step(ids[:1, place], cache)
        return (finish() - started) / steps

    return step, decode
