"""The key-value cache, preallocated, so that a new step costs one query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from muse_shortcut.config import ModelConfig

__all__ = ["Cache", "CachedKeysValues"]

_WORTH_SHARING = 128
"""Below this number of steps, a copy per candidate is as fast to read as a shared part that must be joined."""


@dataclass(slots=True)
class CachedKeysValues:
    """The cached keys and values of a layer, or of n depths: of the steps that the batch shares, and of later ones.

    `keys, values = held` joins both parts. Attention that reads the shared part once takes the parts instead.
    """

    own_keys: Tensor
    """Keys (..., B, H, T, C) of the steps after the shared ones; the values have the same shape."""
    own_values: Tensor
    shared: tuple[Tensor, Tensor] | None
    """Keys and values (..., 1, H, T', C) of the shared steps; None if there are none."""

    def __iter__(self) -> Iterator[Tensor]:
        """Yield keys, then values, (..., B, H, T' + T, C)."""
        if self.shared is None:
            return iter((self.own_keys, self.own_values))
        pairs = zip(self.shared, (self.own_keys, self.own_values), strict=True)
        return iter([torch.cat((first.expand(*own.shape[:-2], -1, -1), own), dim=-2) for first, own in pairs])


class Cache:
    """The keys and values of all layers of a core for the T steps that it has read.

    The first `shared_length` steps may be the same for the whole batch; they are stored once.

    Attributes:
        length: T so far, including the shared steps.
        capacity: Largest number of steps, the context.
        worth_sharing: Number of steps from which candidates share them, see `repeat`.
        keys, values: (L - 1, B, H, capacity - shared_length, C), of the ordinary layers.
        tap_keys, tap_values: (n, B, H, capacity - shared_length, C), of the depths whose past the last layer attends
            to.
    """

    def __init__(self, config: ModelConfig, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        self.capacity = config.context
        self.length = self.shared_length = 0
        self.worth_sharing = _WORTH_SHARING
        self._shape = (config.heads, config.head_width)
        self.shared: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self.keys, self.values = self._room(config.layers - 1, batch, device, dtype)
        self.tap_keys, self.tap_values = self._room(len(config.remembered), batch, device, dtype)

    def _room(self, layers: int, batch: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        heads, width = self._shape
        shape = (layers, batch, heads, self.capacity - self.shared_length, width)
        return torch.zeros(shape, device=device, dtype=dtype), torch.zeros(shape, device=device, dtype=dtype)

    def put(self, layer: int, key: Tensor, value: Tensor) -> CachedKeysValues:
        """Append (B, H, T, C) to an ordinary layer, and return all of its keys and values."""
        start = self.length - self.shared_length
        end = start + key.shape[2]
        self.keys[layer, :, :, start:end] = key
        self.values[layer, :, :, start:end] = value
        shared = None if self.shared is None else (self.shared[0][layer], self.shared[1][layer])
        return CachedKeysValues(self.keys[layer, :, :, :end], self.values[layer, :, :, :end], shared)

    def put_taps(self, keys: Tensor, values: Tensor) -> CachedKeysValues:
        """Append (n, B, H, T, C) to the depths, and return all of their keys and values."""
        start = self.length - self.shared_length
        end = start + keys.shape[3]
        self.tap_keys[:, :, :, start:end] = keys
        self.tap_values[:, :, :, start:end] = values
        shared = None if self.shared is None else self.shared[2:]
        return CachedKeysValues(self.tap_keys[:, :, :, :end], self.tap_values[:, :, :, :end], shared)

    def repeat(self, batch: int) -> None:
        """Expand a batch of one to `batch` candidates, which share the steps so far if these are many."""
        assert self.shared is None
        if batch == 1:
            return
        if self.length < self.worth_sharing:
            for name in ("keys", "values", "tap_keys", "tap_values"):
                setattr(self, name, getattr(self, name).repeat_interleave(batch, dim=1))
            return
        past = slice(0, self.length)
        self.shared = (
            self.keys[:, :, :, past],
            self.values[:, :, :, past],
            self.tap_keys[:, :, :, past],
            self.tap_values[:, :, :, past],
        )
        self.shared_length = self.length
        device, dtype = self.keys.device, self.keys.dtype
        self.keys, self.values = self._room(len(self.keys), batch, device, dtype)
        self.tap_keys, self.tap_values = self._room(len(self.tap_keys), batch, device, dtype)
