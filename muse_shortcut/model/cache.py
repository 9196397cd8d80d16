"""Keys and values of what has been read, preallocated, so that a new step costs one query."""

from __future__ import annotations

import torch
from torch import Tensor

from muse_shortcut.config import ModelConfig

__all__ = ["Cache"]

_WORTH_SHARING = 128
"""Below so many steps a copy for each candidate is read as fast as one that is shared and joined."""


class Cache:
    """What the layers of a core keep of the T steps they have read.

    The first `shared_length` of them may be the same for the whole batch; they are kept once.

    Attributes:
        length: T so far, the shared ones included.
        capacity: the most steps it can hold, the context.
        keys, values: (L - 1, B, H, capacity - shared_length, C), of the ordinary layers.
        tap_keys, tap_values: (n, B, H, capacity - shared_length, C), of the depths the last layer attends to.
    """

    def __init__(self, config: ModelConfig, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        self.capacity = config.context
        self.length = self.shared_length = 0
        self._shape = (config.heads, config.head_width)
        self._shared: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self.keys, self.values = self._room(config.layers - 1, batch, device, dtype)
        self.tap_keys, self.tap_values = self._room(len(config.depths), batch, device, dtype)

    def _room(self, layers: int, batch: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        heads, width = self._shape
        shape = (layers, batch, heads, self.capacity - self.shared_length, width)
        return torch.zeros(shape, device=device, dtype=dtype), torch.zeros(shape, device=device, dtype=dtype)

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, H, T', C) to an ordinary layer; return all of it that is not shared, (B, H, T + T', C)."""
        start = self.length - self.shared_length
        end = start + key.shape[2]
        self.keys[layer, :, :, start:end] = key
        self.values[layer, :, :, start:end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def put_taps(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add (n, B, H, T', C) to the depths; return all of them that is not shared, (n, B, H, T + T', C)."""
        start = self.length - self.shared_length
        end = start + keys.shape[3]
        self.tap_keys[:, :, :, start:end] = keys
        self.tap_values[:, :, :, start:end] = values
        return self.tap_keys[:, :, :, :end], self.tap_values[:, :, :, :end]

    def shared(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values (1, 1, H, T', C) of an ordinary layer that the batch shares; None where it shares none."""
        return None if self._shared is None else (self._shared[0][layer, None], self._shared[1][layer, None])

    def shared_taps(self) -> tuple[Tensor, Tensor] | None:
        """Keys and values (n, 1, H, T', C) of the depths that the batch shares; None where it shares none."""
        return None if self._shared is None else self._shared[2:]

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
