"""The bare cached step in muse-bench: native, by torch, of a plain GPT, and of GPT-2 in transformers, beside the limit
that reading memory sets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch

from muse_shortcut.config import ModelConfig
from muse_shortcut.generation.decoders import Decoder, native_problem
from muse_shortcut.model.core import Core
from muse_shortcut.native.decoding import NativeCore

__all__ = ["step_cases", "step_results"]

_CANDIDATES = (1, 4)


def step_cases(core: Core, length: int, steps: int) -> dict[str, Callable[[], float]]:
    """Return the cases to measure in turns, by name; each runs `steps` steps after `length` and returns its rate.

    Args:
        core: The core; others of its shape have random weights.
        length: Steps that have been read before, a prompt that all candidates share.
        steps: Number of steps, which the context has room for.
    """
    plain = Core(replace(core.config, shortcut=None, mixing=None, last_layer=None)).eval().to(core.norm.weight.device)
    decoders: dict[str, Decoder] = {"torch": core, "plain": plain}
    if native_problem(core) is None:
        decoders = {"native": NativeCore(core), "native_plain": NativeCore(plain)} | decoders
    cases: dict[str, Callable[[], float]] = {}
    for candidates in _CANDIDATES:
        for name, decoder in decoders.items():
            cases[f"{name}_{candidates}"] = _case(decoder, core.norm.weight.device, length, steps, candidates)
        if find_spec("transformers") is not None:
            cases[f"transformers_{candidates}"] = _case_of_transformers(core, length, steps, candidates)
        cases[f"read_{candidates}"] = _case_of_reading(_bytes_of_a_step(core, length, candidates))
    return cases


def step_results(core: Core, length: int, found: dict[str, list[float]]) -> dict[str, Any]:
    """Return the medians and ranges of `step_cases`, and how the native step, or torch, compares."""
    median = {name: statistics.median(rates) for name, rates in found.items()}
    results: dict[str, Any] = {"context": length}
    for candidates in _CANDIDATES:
        size = _bytes_of_a_step(core, length, candidates)
        results[f"read_gigabytes_per_second_{candidates}"] = round(median[f"read_{candidates}"] * size / 1e9, 1)
    for name, rates in found.items():
        label = name.replace("read", "read_limit")
        results[f"{label}_steps_per_second"] = round(median[name], 1)
        results[f"{label}_range"] = [round(min(rates), 1), round(max(rates), 1)]
    for candidates in _CANDIDATES:
        own = median.get(f"native_{candidates}", median[f"torch_{candidates}"])
        results[f"ratio_to_torch_{candidates}"] = round(own / median[f"torch_{candidates}"], 2)
        if f"transformers_{candidates}" in median:
            results[f"ratio_to_transformers_{candidates}"] = round(own / median[f"transformers_{candidates}"], 2)
        results[f"ratio_to_read_limit_{candidates}"] = round(own / median[f"read_{candidates}"], 2)
    return results


def _rate(steps: int, step: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return steps / (time.perf_counter() - started)


def _case(decoder: Decoder, device: torch.device, length: int, steps: int, candidates: int) -> Callable[[], float]:
    with torch.inference_mode():
        cache = decoder.make_cache(1)
        shape = (1, length, decoder.config.streams)
        decoder.prefill(torch.randint(0, decoder.config.vocabulary_size, shape, device=device), cache)
        cache.repeat(candidates)
        ids = torch.zeros(candidates, decoder.config.streams, dtype=torch.long, device=device)

    @torch.inference_mode()
    def run() -> float:
        rate = _rate(steps, lambda: decoder.step(ids, cache).logits.cpu())
        cache.length = length
        return rate

    return run


def _case_of_transformers(core: Core, length: int, steps: int, candidates: int) -> Callable[[], float]:
    """GPT-2 of the same shape, with its cache. It has one stream."""
    import transformers

    # It imports torchaudio, which cannot be loaded beside a torch for CPUs (docs/dependency-traps.md).
    transformers.utils.is_torchaudio_available = lambda: False
    config = core.config
    shape = transformers.GPT2Config(
        vocab_size=config.vocabulary_size,
        n_positions=config.context,
        n_embd=config.width,
        n_layer=config.layers,
        n_head=config.heads,
        n_inner=config.feed_forward,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(shape).eval().to(core.norm.weight.device)
    with torch.inference_mode():
        ids = torch.zeros(candidates, length, dtype=torch.long, device=core.norm.weight.device)
        cache = model(ids, use_cache=True).cache

    @torch.inference_mode()
    def run() -> float:
        rate = _rate(steps, lambda: model(ids[:, :1], cache=cache, use_cache=True).logits.cpu())
        cache.crop(-steps)
        return rate

    return run


def _case_of_reading(size: int) -> Callable[[], float]:
    """How often so many bytes can be read in a second."""
    numbers = torch.ones(size // 4)
    return lambda: _rate(20, numbers.sum)


def _bytes_of_a_step(core: Core, length: int, candidates: int) -> int:
    """Bytes of weights and shared keys and values that a step reads once, in float32."""
    config: ModelConfig = core.config
    embeddings = 0 if config.tied_embeddings else sum(weight.numel() for weight in core.embeddings.parameters())
    rows = 2 * (config.layers - 1 + len(config.remembered)) * config.width
    shared = core.make_cache(1)
    shared.length = length
    shared.repeat(candidates)
    copies = 1 if shared.shared_length else candidates
    return 4 * (core.parameter_count() - embeddings + rows * length * copies)
