"""Keys and values of what has been read, preallocated, so that a new step costs one query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from muse_shortcut.config import ModelConfig

__all__ = ["Cache", "CachedKeysValues"]

_WORTH_SHARING = 128
"""Below so many steps a copy for each candidate is read as fast as one that is shared and joined."""


@dataclass(slots=True)
class CachedKeysValues:
    """The keys and values that a cache holds of a layer, or of n depths: of the steps that the batch shares, and of
    those after them.

    `keys, values = held` are all of them, joined. Taking the parts is for whoever reads the shared one once.
    """

    own_keys: Tensor
    """(..., B, H, T, C), of the steps after the shared ones."""
    own_values: Tensor
    shared: tuple[Tensor, Tensor] | None
    """Keys and values (..., 1, H, T', C) of the steps that the batch shares; None where it shares none."""

    def __iter__(self) -> Iterator[Tensor]:
        """Keys, then values, (..., B, H, T' + T, C)."""
        if self.shared is None:
            return iter((self.own_keys, self.own_values))
        pairs = zip(self.shared, (self.own_keys, self.own_values), strict=True)
        return iter([torch.cat((first.expand(*own.shape[:-2], -1, -1), own), dim=-2) for first, own in pairs])


class Cache:
    """What the layers of a core keep of the T steps they have read.

    The first `shared_length` of them may be the same for the whole batch; they are kept once.

    Attributes:
        length: T so far, the shared ones included.
        capacity: the most steps it can hold, the context.
        keys, values: (L - 1, B, H, capacity - shared_length, C), of the ordinary layers.
        tap_keys, tap_values: (n, B, H, capacity - shared_length, C), of the depths whose past the last one sees.
    """

    def __init__(self, config: ModelConfig, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        self.capacity = config.context
        self.length = self.shared_length = 0
        self._shape = (config.heads, config.head_width)
        self._shared: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self.keys, self.values = self._room(config.layers - 1, batch, device, dtype)
        self.tap_keys, self.tap_values = self._room(len(config.remembered), batch, device, dtype)

    def _room(self, layers: int, batch: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        heads, width = self._shape
        shape = (layers, batch, heads, self.capacity - self.shared_length, width)
        return torch.zeros(shape, device=device, dtype=dtype), torch.zeros(shape, device=device, dtype=dtype)

    def put(self, layer: int, key: Tensor, value: Tensor) -> CachedKeysValues:
        """Add (B, H, T, C) to an ordinary layer; return all of it."""
        start = self.length - self.shared_length
        end = start + key.shape[2]
        self.keys[layer, :, :, start:end] = key
        self.values[layer, :, :, start:end] = value
        shared = None if self._shared is None else (self._shared[0][layer], self._shared[1][layer])
        return CachedKeysValues(self.keys[layer, :, :, :end], self.values[layer, :, :, :end], shared)

    def put_taps(self, keys: Tensor, values: Tensor) -> CachedKeysValues:
        """Add (n, B, H, T, C) to the depths; return all of them."""
        start = self.length - self.shared_length
        end = start + keys.shape[3]
        self.tap_keys[:, :, :, start:end] = keys
        self.tap_values[:, :, :, start:end] = values
        shared = None if self._shared is None else self._shared[2:]
        return CachedKeysValues(self.tap_keys[:, :, :, :end], self.tap_values[:, :, :, :end], shared)

    def repeat(self, batch: int) -> None:
        """Turn a batch of one into `batch` candidates, who share what has been read so far if it is long."""
        assert self._shared is None
        if batch == 1:
            return
        if self.length < _WORTH_SHARING:
            for name in ("keys", "values", "tap_keys", "tap_values"):
                setattr(self, name, getattr(self, name).repeat_interleave(batch, dim=1))
            return
        past = slice(0, self.length)
        self._shared = (
            self.keys[:, :, :, past],
            self.values[:, :, :, past],
            self.tap_keys[:, :, :, past],
            self.tap_values[:, :, :, past],
        )
        self.shared_length = self.length
        device, dtype = self.keys.device, self.keys.dtype
        self.keys, self.values = self._room(len(self.keys), batch, device, dtype)
        self.tap_keys, self.tap_values = self._room(len(self.tap_keys), batch, device, dtype)
