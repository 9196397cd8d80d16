"""Selects the pieces to evaluate, by source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.data.store import Store
from muse_shortcut.errors import OptionError, StoreError

__all__ = ["pieces_by_source", "read_ids"]


def pieces_by_source(store: Store, split: str, only: Sequence[str] = ()) -> dict[str, list[int]]:
    """Return the indices of the pieces of a split, by source, in the order of the store.

    Args:
        store: The store.
        split: "train", "validation" or "test".
        only: Sources to select; empty for all.

    Raises:
        StoreError: The split has no pieces.
        OptionError: There is no such source.
    """
    sources: dict[str, list[int]] = {}
    for number, piece in enumerate(store.pieces):
        if piece.split == split:
            sources.setdefault(store.source(number), []).append(number)
    if not sources:
        raise StoreError(f"there is nothing to evaluate: the {split} split of {store.folder} has no pieces")
    for name in only:
        if name not in sources:
            raise OptionError("sources", name, f"{', '.join(sources)}, those of the {split} split of {store.folder}")
    return {source: pieces for source, pieces in sorted(sources.items()) if not only or source in only}


def read_ids(store: Store, number: int) -> NDArray[np.int64]:
    """Return the ids of a piece of the store, including begin and end, (T, K)."""
    return store.tokens[store.offsets[number] : store.offsets[number + 1]].astype(np.int64)
