"""Batches as a pure function of a seed and a step: nothing is remembered, so nothing has to be restored."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.errors import StoreError
from muse_tokenizers.base import Variations

__all__ = ["TrainingBatches", "evaluation_windows"]

Window = NDArray[np.int64]


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
    ) -> None:
        """
        Args:
            tokens: (N, K) ids of a split.
            context: T, the steps the model sees.
            batch: windows a batch.
            seed: another one gives other batches.
            variations: augmentation; one is drawn for each window.

        Raises:
            StoreError: there is nothing to learn from.
        """
        if len(tokens) < 2:
            raise StoreError("the train split has no pieces")
        self._tokens, self._context, self._batch, self._seed = tokens, context, batch, seed
        self._variations = variations
        self._windows = max(1, (len(tokens) - 1) // context)
        self._order = lru_cache(maxsize=2)(self._shuffle)

    @property
    def windows_per_epoch(self) -> int:
        return self._windows

    def _shuffle(self, epoch: int) -> tuple[int, NDArray[np.int64]]:
        random = np.random.default_rng((self._seed, 1, epoch))
        return int(random.integers(self._context)), random.permutation(self._windows)

    def __call__(self, index: int) -> tuple[Window, Window]:
        """Batch number `index`: inputs and targets, (B, T, K) each; target t is what follows input t."""
        numbers = range(index * self._batch, (index + 1) * self._batch)
        window = np.stack([self._window(number) for number in numbers])
        return window[:, :-1], window[:, 1:]

    def _window(self, number: int) -> Window:
        epoch, place = divmod(number, self._windows)
        offset, order = self._order(epoch)
        start = offset + int(order[place]) * self._context
        # A split shorter than a window repeats itself.
        rows = np.arange(start, start + self._context + 1) % len(self._tokens)
        ids: Window = self._tokens[rows].astype(np.int64)
        if self._variations is None:
            return ids
        choice = int(np.random.default_rng((self._seed, 2, number)).integers(len(self._variations.maps)))
        if not self._variations.valid[choice][ids].all():
            choice = 0
        varied: Window = self._variations.maps[choice][ids]
        return varied


def evaluation_windows(tokens: NDArray[Any], *, context: int, count: int) -> Window:
    """(W, T + 1, K): at most `count` windows that do not overlap, evenly over a split; always the same.

    Raises:
        StoreError: the split is empty.
    """
    if len(tokens) < 2:
        raise StoreError("there is nothing to evaluate: the split has no pieces")
    available = max(1, (len(tokens) - 1) // context)
    chosen = np.unique(np.linspace(0, available - 1, min(count, available)).round().astype(np.int64))
    rows = (chosen[:, None] * context + np.arange(context + 1)) % len(tokens)
    windows: Window = tokens[rows].astype(np.int64)
    return windows
