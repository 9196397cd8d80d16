"""Training batches as a pure function of (seed, step), so that there is no state to save or restore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.checks import require_sources
from muse_shortcut.errors import StoreError
from muse_tokenizers.base import Variations

if TYPE_CHECKING:
    from muse_shortcut.data.store import Store  # it imports yaml

__all__ = ["SourceWeights", "TrainingBatches", "evaluation_windows", "source_weights_of"]

WindowIds = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SourceWeights:
    """Sampling weights of the parts of a split."""

    starts: NDArray[np.int64]
    """(M,) int64, the beginning of each part in ascending order, from 0."""
    weights: NDArray[np.float64]
    """(M,) float64, how often an epoch sees the windows of each part on average; a weight of 2.5 means two or three
    times."""


class TrainingBatches:
    """Batches of windows of a split. An epoch sees every window once, in its own order and from its own offset."""

    def __init__(
        self,
        tokens: NDArray[Any],
        *,
        context: int,
        batch: int,
        seed: int,
        variations: Variations | None = None,
        source_weights: SourceWeights | None = None,
    ) -> None:
        """
        Args:
            tokens: (N, K) ids of a split.
            context: T, the length of a window in steps.
            batch: Windows per batch.
            seed: Seed of the order, the offsets and the augmentation.
            variations: Augmentations, of which one is drawn for each window.
            source_weights: Windows that begin in a part of weight w are seen w times per epoch; None for weights of 1.

        Raises:
            StoreError: The split is too short, or all weights are 0.
        """
        if len(tokens) < 2:
            raise StoreError("the train split has no pieces")
        self._tokens, self._context, self._batch, self._seed = tokens, context, batch, seed
        self._variations = variations
        self._places = max(1, (len(tokens) - 1) // context)
        self._source_weights = source_weights
        self._windows = self._places
        if source_weights is not None:
            self._windows = max(1, round(float(self._weights(0).sum())))
        self._order = lru_cache(maxsize=2)(self._shuffle)

    @property
    def windows_per_epoch(self) -> int:
        """Number of windows in an epoch."""
        return self._windows

    def _shuffle(self, epoch: int) -> tuple[int, NDArray[np.int64]]:
        random = np.random.default_rng((self._seed, 1, epoch))
        offset = int(random.integers(self._context))
        if self._source_weights is None:
            return offset, random.permutation(self._windows)
        # Systematic resampling: a window of weight w occurs floor(w) or ceil(w) times.
        reached = np.cumsum(self._weights(offset))
        points = (np.arange(self._windows) + random.random()) * (reached[-1] / self._windows)
        return offset, random.permutation(np.minimum(np.searchsorted(reached, points, side="right"), self._places - 1))

    def _weights(self, offset: int) -> NDArray[np.float64]:
        """Return the weight of each window of an epoch that begins at an offset, (windows,)."""
        assert self._source_weights is not None
        begins = (offset + np.arange(self._places) * self._context) % len(self._tokens)
        weights: NDArray[np.float64] = self._source_weights.weights[
            np.searchsorted(self._source_weights.starts, begins, side="right") - 1
        ]
        return weights

    def __call__(self, index: int) -> tuple[WindowIds, WindowIds]:
        """Return batch number `index` as inputs and targets, (B, T, K) each; the target at t is the step after input
        t."""
        numbers = range(index * self._batch, (index + 1) * self._batch)
        window = np.stack([self._window(number) for number in numbers])
        return window[:, :-1], window[:, 1:]

    def _window(self, number: int) -> WindowIds:
        epoch, place = divmod(number, self._windows)
        offset, order = self._order(epoch)
        start = offset + int(order[place]) * self._context
        # A split that is shorter than a window is repeated.
        rows = np.arange(start, start + self._context + 1) % len(self._tokens)
        ids: WindowIds = self._tokens[rows].astype(np.int64)
        if self._variations is None:
            return ids
        choice = int(np.random.default_rng((self._seed, 2, number)).integers(len(self._variations.maps)))
        if not self._variations.valid[choice][ids].all():
            choice = 0
        varied: WindowIds = self._variations.maps[choice][ids]
        return varied


def source_weights_of(store: Store, split: str, weights: Mapping[str, float]) -> SourceWeights | None:
    """Convert weights of sources to weights of the parts of a split; None if there are no weights.

    Raises:
        ArgumentsError: A source is not in the split, or all weights are 0.
    """
    if not weights:
        return None
    inside = [p for p, piece in enumerate(store.pieces) if piece.split == split]
    sources = [store.source(p) for p in inside]
    require_sources(weights, sources)
    own = np.array([weights.get(source, 1.0) for source in sources])
    return SourceWeights(starts=store.offsets[inside] - store.offsets[inside[0]], weights=own)


def evaluation_windows(tokens: NDArray[Any], *, context: int, count: int) -> WindowIds:
    """Return at most `count` non-overlapping windows, spread evenly over a split, (W, T + 1, K); always the same ones.

    Args:
        tokens: (N, K) ids of a split, as returned by `Store.split`.
        context: T, the context of the model in steps.
        count: Largest number of windows W.

    Raises:
        StoreError: The split is empty.
    """
    if len(tokens) < 2:
        raise StoreError("there is nothing to evaluate: the split has no pieces")
    available = max(1, (len(tokens) - 1) // context)
    chosen = np.unique(np.linspace(0, available - 1, min(count, available)).round().astype(np.int64))
    rows = (chosen[:, None] * context + np.arange(context + 1)) % len(tokens)
    windows: WindowIds = tokens[rows].astype(np.int64)
    return windows
