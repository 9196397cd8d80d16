"""Batches as a pure function of a seed and a step: nothing is remembered, so nothing has to be restored."""

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
    from muse_shortcut.data.store import Store  # which needs yaml

__all__ = ["SourceWeights", "TrainingBatches", "evaluation_windows", "source_weights_of"]

WindowIds = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SourceWeights:
    """How often each part of a split is seen, beside the others."""

    starts: NDArray[np.int64]
    """(M,): where each part begins, rising from 0."""
    weights: NDArray[np.float64]
    """(M,): how often an epoch sees a part's windows, on average; a weight of 2.5 is two or three times."""


class TrainingBatches:
    """Windows over a split, every one seen once an epoch, in an order and from an offset of that epoch's own."""

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
            context: T, the steps the model sees.
            batch: windows per batch.
            seed: another one gives other batches.
            variations: augmentation; one is drawn for each window.
            source_weights: windows that begin in a part of weight w are seen w times an epoch; None: all once.

        Raises:
            StoreError: there is nothing to learn from.
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
        """Windows after which all have been seen."""
        return self._windows

    def _shuffle(self, epoch: int) -> tuple[int, NDArray[np.int64]]:
        random = np.random.default_rng((self._seed, 1, epoch))
        offset = int(random.integers(self._context))
        if self._source_weights is None:
            return offset, random.permutation(self._windows)
        # Systematic resampling: a window of weight w comes floor(w) or ceil(w) times.
        reached = np.cumsum(self._weights(offset))
        points = (np.arange(self._windows) + random.random()) * (reached[-1] / self._windows)
        return offset, random.permutation(np.minimum(np.searchsorted(reached, points, side="right"), self._places - 1))

    def _weights(self, offset: int) -> NDArray[np.float64]:
        """(windows,): the weight of each window of an epoch that begins at an offset."""
        assert self._source_weights is not None
        begins = (offset + np.arange(self._places) * self._context) % len(self._tokens)
        weights: NDArray[np.float64] = self._source_weights.weights[
            np.searchsorted(self._source_weights.starts, begins, side="right") - 1
        ]
        return weights

    def __call__(self, index: int) -> tuple[WindowIds, WindowIds]:
        """Batch number `index`: inputs and targets, (B, T, K) each; target t is what follows input t."""
        numbers = range(index * self._batch, (index + 1) * self._batch)
        window = np.stack([self._window(number) for number in numbers])
        return window[:, :-1], window[:, 1:]

    def _window(self, number: int) -> WindowIds:
        epoch, place = divmod(number, self._windows)
        offset, order = self._order(epoch)
        start = offset + int(order[place]) * self._context
        # A split shorter than a window repeats itself.
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
    """The weights of a store's sources as those of the parts of one split; None where there are none.

    Raises:
        ArgumentsError: a source is not in the split, or nothing of it would be seen.
    """
    if not weights:
        return None
    inside = [p for p, piece in enumerate(store.pieces) if piece.split == split]
    sources = [store.source(p) for p in inside]
    require_sources(weights, sources)
    own = np.array([weights.get(source, 1.0) for source in sources])
    return SourceWeights(starts=store.offsets[inside] - store.offsets[inside[0]], weights=own)


def evaluation_windows(tokens: NDArray[Any], *, context: int, count: int) -> WindowIds:
    """(W, T + 1, K): at most `count` windows that do not overlap, evenly over a split; always the same.

    Args:
        tokens: (N, K) ids of a split, as `Store.split` gives them.
        context: T, the steps that the model sees.
        count: W, at most.

    Raises:
        StoreError: the split is empty.
    """
    if len(tokens) < 2:
        raise StoreError("there is nothing to evaluate: the split has no pieces")
    available = max(1, (len(tokens) - 1) // context)
    chosen = np.unique(np.linspace(0, available - 1, min(count, available)).round().astype(np.int64))
    rows = (chosen[:, None] * context + np.arange(context + 1)) % len(tokens)
    windows: WindowIds = tokens[rows].astype(np.int64)
    return windows
