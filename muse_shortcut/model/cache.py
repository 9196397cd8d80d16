"""Keys and values of what has been read, preallocated, so that a new step costs one query."""

from __future__ import annotations

import torch
from torch import Tensor

from muse_shortcut.config import ModelConfig

__all__ = ["Cache"]


class Cache:
    """What the layers of a core keep of the T steps they have read.

    Attributes:
        length: T so far.
        keys, values: (L - 1, B, H, context, C), of the ordinary layers.
        tap_keys, tap_values: (n, B, H, context, C), of the depths the last layer attends to.
    """

    def __init__(self, config: ModelConfig, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        shape = (batch, config.heads, config.context, config.head_width)
        self.capacity = config.context
        self.length = 0
        self.keys = torch.zeros(config.layers - 1, *shape, device=device, dtype=dtype)
        self.values = torch.zeros_like(self.keys)
        self.tap_keys = torch.zeros(len(config.depths), *shape, device=device, dtype=dtype)
        self.tap_values = torch.zeros_like(self.tap_keys)

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, H, T', C) to an ordinary layer; return all it has, (B, H, T + T', C)."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def put_taps(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add (n, B, H, T', C) to the depths; return all they have, (n, B, H, T + T', C)."""
        end = self.length + keys.shape[3]
        self.tap_keys[:, :, :, self.length : end] = keys
        self.tap_values[:, :, :, self.length : end] = values
        return self.tap_keys[:, :, :, :end], self.tap_values[:, :, :, :end]

    def repeat(self, batch: int) -> None:
        """Copy a batch of one to `batch` candidates."""
        for name in ("keys", "values", "tap_keys", "tap_values"):
            setattr(self, name, getattr(self, name).repeat_interleave(batch, dim=1))
