"""Mixes keys and values of the layers below into those of a layer, position by position, before its attention.

The mixture replaces the layer's own keys and values, also in the cache, whose size does not change. Rotary positions
rotate all keys of a position by the same angles, so mixing commutes with them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from torch import Tensor, nn

from muse_shortcut.config import ModelConfig
from muse_shortcut.model.attention import column_attend

__all__ = ["DepthAttention", "KeyValueMixing", "Memory", "MemoryMixing", "ValueResidual", "memory_mixing"]

Memory: TypeAlias = list[tuple[Tensor, Tensor]]
"""Unmixed keys and values (B, H, T, C) of the layers below, from the lowest."""


class MemoryMixing(nn.Module, ABC):
    """Computes the keys and values of a layer from its own and those of the layers below."""

    @abstractmethod
    def forward(self, query: Tensor, key: Tensor, value: Tensor, below: Memory) -> tuple[Tensor, Tensor]:
        """The layer's own query, key and value (B, H, T, C) -> its mixed keys and values (B, H, T, C)."""


class KeyValueMixing(MemoryMixing):
    """Layer-integrated memory (LIMe; Gerasimov et al. 2025, arXiv 2502.09245): with a learned number r for each pair of
    a head g here and a head h of a layer l here or below,

        K'_g = sum_{l, h} r_{l,h,g} K_{l,h}        V'_g = sum_{l, h} r_{l,h,g} V_{l,h}

    It is initialised to each head's own keys and values.
    """

    def __init__(self, layers: int, heads: int) -> None:
        """
        Args:
            layers: Number of layers up to and including this one.
            heads: H.
        """
        super().__init__()
        routes = torch.zeros(layers, heads, heads)
        routes[-1] = torch.eye(heads)
        # Flat, because Muon would orthogonalise a matrix.
        self.routes = nn.Parameter(routes.flatten())
        self._heads = heads

    def forward(self, query: Tensor, key: Tensor, value: Tensor, below: Memory) -> tuple[Tensor, Tensor]:
        routes = self.routes.view(-1, self._heads).transpose(0, 1)
        keys = torch.cat([*(k for k, _ in below), key], dim=1)
        values = torch.cat([*(v for _, v in below), value], dim=1)
        # (H, l H) @ (B, l H, T C)
        mixed = [torch.matmul(routes, x.flatten(-2)).view_as(key) for x in (keys, values)]
        return mixed[0], mixed[1]


class ValueResidual(MemoryMixing):
    """Value residual with learned shares (ResFormer; Zhou et al. 2024, arXiv 2410.17897): V' = a V + b V_1, where V_1
    are the values of the lowest layer. Both a and b are initialised to one half."""

    def __init__(self) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, below: Memory) -> tuple[Tensor, Tensor]:
        return key, self.shares[0] * value + self.shares[1] * below[0][1]


class DepthAttention(MemoryMixing):
    """Depth attention (Zeng et al. 2026, arXiv 2606.05014, without its additions for large models): each position
    attends over the keys of its own column, and the result replaces its value,

        V'(j) = sum_l softmax over l of (Q(j) . K_l(j) / sqrt(C)) V_l(j)

    It has no parameters.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, below: Memory) -> tuple[Tensor, Tensor]:
        keys = torch.stack([*(k for k, _ in below), key])
        values = torch.stack([*(v for _, v in below), value])
        return key, column_attend(query, keys, values)[0]


def memory_mixing(config: ModelConfig, layer: int) -> MemoryMixing | None:
    """Return the mixing of a layer, counted from 0; None if it uses its own keys and values."""
    mixing = config.mixing
    if mixing is None or layer == 0 or (mixing.layers == "last" and layer < config.layers - 1):
        return None
    if mixing.kind == "key_value":
        return KeyValueMixing(layer + 1, config.heads)
    if mixing.kind == "value_residual":
        return ValueResidual()
    return DepthAttention() if mixing.kind == "depth_attention" else None
