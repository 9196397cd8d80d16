"""Samples ids from logits. Vectorised over candidates; knows no domain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.config import SamplingConfig

__all__ = ["NgramMemory", "Sample", "Sampler", "distribution", "log_softmax"]

PENALTY_STEPS = 64
"""Number of past steps that the repetition penalty considers."""

_FORBIDDEN = -np.inf


def distribution(logits: NDArray[np.float64], config: SamplingConfig) -> NDArray[np.float64]:
    """Apply temperature, then top-k (Fan et al. 2018), top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024).

    Args:
        logits: (..., V), -inf for ids that are not allowed; at least one id is allowed.
        config: Sampling options.

    Returns:
        (..., V) probabilities that sum to 1.
    """
    if config.greedy:
        likeliest: NDArray[np.bool_] = np.arange(logits.shape[-1]) == logits.argmax(-1)[..., None]
        return likeliest.astype(np.float64)
    with np.errstate(over="ignore"):
        # The maximum is subtracted first: a tiny temperature then leads to 0 and not to a difference of infinities.
        probabilities = _softmax((logits - logits.max(-1, keepdims=True)) / config.temperature)
    if 0 < config.top_k < logits.shape[-1]:
        least = np.partition(probabilities, -config.top_k, axis=-1)[..., -config.top_k, None]
        probabilities = np.where(probabilities >= least, probabilities, 0.0)
    if config.top_p < 1.0:
        order = np.argsort(-probabilities, axis=-1, kind="stable")
        descending = np.take_along_axis(probabilities, order, -1)
        total = descending.sum(-1, keepdims=True)
        # An id is kept while the more likely ones have not reached top_p; the likeliest one is always kept.
        keep = np.cumsum(descending, -1) - descending < config.top_p * total
        np.put_along_axis(probabilities, order, np.where(keep, descending, 0.0), -1)
    if config.min_p > 0.0:
        best = probabilities.max(-1, keepdims=True)
        probabilities = np.where(probabilities >= config.min_p * best, probabilities, 0.0)
    total = probabilities.sum(-1, keepdims=True)
    result: NDArray[np.float64] = probabilities / total
    return result


def log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-probabilities of scores (..., V) in nats; scores are -inf for ids that are not allowed."""
    below = scores - scores.max(-1, keepdims=True)
    nats: NDArray[np.float64] = below - np.log(np.exp(below).sum(-1, keepdims=True))
    return nats


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials: NDArray[np.float64] = np.exp(logits - logits.max(-1, keepdims=True))
    total: NDArray[np.float64] = exponentials.sum(-1, keepdims=True)
    return exponentials / total


class NgramMemory:
    """The n-grams of steps that have been generated, per stream and candidate."""

    def __init__(self, size: int, history: NDArray[np.int64]) -> None:
        """
        Args:
            size: n; 0 turns it off.
            history: (C, T, K) ids so far.
        """
        self._size = size
        candidates, _, streams = history.shape
        self._followers: list[list[dict[tuple[int, ...], set[int]]]] = [
            [{} for _ in range(streams)] for _ in range(candidates)
        ]
        self._tails: list[list[tuple[int, ...]]] = [[() for _ in range(streams)] for _ in range(candidates)]
        if size:
            for t in range(history.shape[1]):
                self.add(history[:, t])

    def add(self, ids: NDArray[np.int64]) -> None:
        """Add one step, (C, K)."""
        if not self._size:
            return
        for c, row in enumerate(ids.tolist()):
            for k, i in enumerate(row):
                tail = self._tails[c][k]
                if len(tail) == self._size - 1:
                    self._followers[c][k].setdefault(tail, set()).add(i)
                self._tails[c][k] = (*tail, i)[-(self._size - 1) :] if self._size > 1 else ()

    def forbid(self, logits: NDArray[np.float64]) -> None:
        """Exclude ids that would repeat an n-gram from logits (C, K, V), unless no other id is left."""
        if not self._size:
            return
        for c, streams in enumerate(self._tails):
            for k, tail in enumerate(streams):
                repeated = list(self._followers[c][k].get(tail, ()))
                kept = logits[c, k].copy()
                kept[repeated] = _FORBIDDEN
                if np.isfinite(kept).any():
                    logits[c, k] = kept


class Sample(NamedTuple):
    """Sampled ids, and the log-probabilities that they were sampled from."""

    ids: NDArray[np.int64]
    """(C, K) sampled ids."""
    log_probabilities: NDArray[np.float64]
    """(C, K, V) log-probabilities of the model over the allowed ids in nats, before temperature and truncation."""


class Sampler:
    """Samples the next ids of C candidates, each with its own random stream."""

    def __init__(self, config: SamplingConfig, seed: int, history: NDArray[np.int64]) -> None:
        """
        Args:
            config: Sampling options.
            seed: Seed of the random streams.
            history: (C, T, K) prompt of each candidate.
        """
        self._config = config
        self._randoms = [np.random.Generator(np.random.Philox(key=(seed, c))) for c in range(len(history))]
        self._memory = NgramMemory(config.no_repeat_ngram, history)
        self._recent = history[:, -PENALTY_STEPS:]

    def draw(
        self,
        logits: NDArray[np.float32],
        allowed: NDArray[np.bool_] | None,
        forced: NDArray[np.int64] | None = None,
        bias: NDArray[np.float64] | None = None,
    ) -> Sample:
        """Sample the next ids.

        Args:
            logits: (C, K, V).
            allowed: (C, K, V) bool; None allows all ids.
            forced: (C, K) ids that replace the sampled ones; the random streams advance all the same.
            bias: (C, K, V) or (C, 1, V), added to the logits after the log-probabilities were taken; None for nothing.
        """
        scores = logits.astype(np.float64)
        if allowed is not None:
            scores[~allowed] = _FORBIDDEN
        log_probabilities = log_softmax(scores)
        if bias is not None:
            scores += bias
        if self._config.repetition_penalty > 1.0:
            self._penalise(scores)
        self._memory.forbid(scores)
        chances = distribution(scores, self._config)
        cumulative = np.cumsum(chances, -1)
        points = np.stack([random.random(logits.shape[1]) for random in self._randoms])[..., None]
        # Scaled, because a sum of floats may end slightly below 1; `>` so that an id of probability 0 is never drawn.
        ids = (cumulative > points * cumulative[..., -1:]).argmax(-1)
        ids = ids if forced is None else forced
        self._memory.add(ids)
        self._recent = np.concatenate([self._recent, ids[:, None]], axis=1)[:, -PENALTY_STEPS:]
        return Sample(ids, log_probabilities)

    def _penalise(self, scores: NDArray[np.float64]) -> None:
        recent = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(recent, self._recent.transpose(0, 2, 1), True, axis=-1)
        scores[recent] -= np.log(self._config.repetition_penalty)
