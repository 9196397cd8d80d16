"""The pre-norm causal block and its parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from muse_shortcut.config import ModelConfig
from muse_shortcut.model.attention import attend, row_attend
from muse_shortcut.model.cache import Cache
from muse_shortcut.model.memory_mixing import Memory, memory_mixing

__all__ = ["Attention", "Block", "FeedForward", "Memory", "apply_rotary"]

_EPSILON = 1e-6
"""Epsilon of the norm of queries and keys. torch's default depends on the dtype, and would be larger than the keys of a
new model."""


def apply_rotary(x: Tensor, cos_sin: Tensor) -> Tensor:
    """Apply rotary positions (Su et al. 2021, arXiv 2104.09864) to x (..., T, C), with cosines and sines (2, T, C /
    2)."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = cos_sin.to(x.dtype)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class FeedForward(nn.Module):
    """Feed-forward layer D -> feed_forward -> D with GELU."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(F.gelu(self.up(x))))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """The projections of one attention layer, and the split into heads."""

    def __init__(self, config: ModelConfig, *, norm: bool) -> None:
        """
        Args:
            config: Configuration of the core.
            norm: Whether to normalise each head's queries and keys to a root mean square of 1 (Henry et al. 2020, arXiv
                2010.04245).
        """
        super().__init__()
        self.heads, self.norm = config.heads, norm
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key_value = nn.Linear(config.width, 2 * config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """(..., T, D) -> (..., H, T, C)."""
        return x.view(*x.shape[:-1], self.heads, -1).transpose(-2, -3)

    def queries(self, x: Tensor, cos_sin: Tensor) -> Tensor:
        """(..., T, D) -> (..., H, T, C)."""
        return apply_rotary(self._normed(self.split(self.query(x))), cos_sin)

    def keys_and_values(self, x: Tensor, cos_sin: Tensor) -> tuple[Tensor, Tensor]:
        """(..., T, D) -> two of (..., H, T, C)."""
        key, value = self.key_value(x).chunk(2, dim=-1)
        return apply_rotary(self._normed(self.split(key)), cos_sin), self.split(value)

    def _normed(self, x: Tensor) -> Tensor:
        # Under autocast a norm returns float32 on some devices, for which there may be no fused attention.
        return F.rms_norm(x, x.shape[-1:], eps=_EPSILON).to(x.dtype) if self.norm else x

    def merge(self, x: Tensor) -> Tensor:
        """(..., H, T, C) -> (..., T, D), through the output matrix."""
        return self.output(x.transpose(-2, -3).flatten(-2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """An ordinary pre-norm causal block."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention_norm = nn.LayerNorm(config.width, bias=False)
        self.attention = Attention(config, norm=config.query_key_norm)
        self.mixing = memory_mixing(config, layer)
        self.feed_forward_norm = nn.LayerNorm(config.width, bias=False)
        self.feed_forward = FeedForward(config.width, config.feed_forward, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, h: Tensor, cos_sin: Tensor, cache: Cache | None, below: Memory) -> Tensor:
        """(B, T, D) -> (B, T, D). `below` has the keys and values of the layers below; those of this one are
        appended."""
        x = self.attention_norm(h)
        query = self.attention.queries(x, cos_sin)
        key, value = self.attention.keys_and_values(x, cos_sin)
        own = key, value
        if self.mixing is not None:
            key, value = self.mixing(query, key, value, below)
        below.append(own)
        held = None if cache is None else cache.put(self.layer, key, value)
        if held is not None and held.shared is not None:
            shared_key, shared_value = held.shared
            shared = (shared_key[None], shared_value[None])
            seen, _ = row_attend(query, held.own_keys[None], held.own_values[None], shared)
            return self._finish(h, seen)
        if held is not None:
            key, value = held
        if key.shape[2] > query.shape[2]:
            # A single step: all cached positions precede it, so no mask is needed.
            seen = F.scaled_dot_product_attention(query, key, value)
        else:
            seen = attend(query, key, value)
        return self._finish(h, seen)

    def _finish(self, h: Tensor, seen: Tensor) -> Tensor:
        h = h + self.dropout(self.attention.merge(seen))
        return h + self.dropout(self.feed_forward(self.feed_forward_norm(h)))  # type: ignore[no-any-return]
