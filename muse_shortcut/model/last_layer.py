"""The last block, which attends over several depths or, in a plain GPT, over the one below it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from muse_shortcut.config import ModelConfig, ShortcutConfig
from muse_shortcut.model.attention import (
    ablated_attend,
    column_attend,
    cross_attend,
    cross_row_attend,
    joint_attend,
    row_attend,
)
from muse_shortcut.model.blocks import Attention, FeedForward, Memory
from muse_shortcut.model.cache import Cache
from muse_shortcut.model.memory_mixing import memory_mixing

__all__ = ["FeatureMap", "LastBlock"]


class FeatureMap(nn.Module):
    """The feature map F_s = M_s(norm(h_s)) of one depth."""

    def __init__(self, config: ModelConfig, shortcut: ShortcutConfig | None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.map: nn.Module = nn.Identity()
        self.residual = shortcut is not None and shortcut.feature_map == "residual"
        if shortcut is not None and shortcut.mlp_width:
            self.map = FeedForward(config.width, shortcut.mlp_width, 0.0)
        elif shortcut is not None and shortcut.feature_map == "linear":
            self.map = nn.Linear(config.width, config.width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        x = self.norm(h)
        mapped: Tensor = self.map(x)
        return x + mapped if self.residual else mapped


class LastBlock(nn.Module):
    """The last block, which attends over the depths S."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shortcut = config.shortcut
        self.scope = shortcut.scope if shortcut is not None else "context"
        self.query_norm = nn.LayerNorm(config.width, bias=False)
        self.features = nn.ModuleList(FeatureMap(config, shortcut) for _ in config.depths)
        self.attention = Attention(config, norm=config.query_key_norm if shortcut is None else shortcut.norm)
        self.mixing = memory_mixing(config, config.layers - 1)
        self.feed_forward_norm = nn.LayerNorm(config.width, bias=False)
        self.feed_forward = FeedForward(config.width, config.feed_forward, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def project(self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, below: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """Project the residual stream (B, T, D) to queries (B, H, T, C), and n depths (B, T, D) to keys and values (n,
        B, H, T, C), mixed with `below` if mixing is configured."""
        query = self.attention.queries(self.query_norm(h), cos_sin)
        features = torch.stack([feature(depth) for feature, depth in zip(self.features, depths, strict=True)])
        keys, values = self.attention.keys_and_values(features, cos_sin)
        if self.mixing is not None:
            key, value = self.mixing(query, keys[0], values[0], below)
            keys, values = key[None], value[None]
        return query, keys, values

    def forward(
        self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, cache: Cache | None, below: Memory
    ) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> (B, T, D), and the weights (B, H, n, T) of one cached position, otherwise an empty tensor."""
        query, keys, values = self.project(h, depths, cos_sin, below)
        weights = h.new_empty(0)
        held = None
        if cache is not None and self.scope != "column":
            # With scope `cross`, only the last depth is visible beyond the current position.
            kept = slice(-1, None) if self.scope == "cross" else slice(None)
            held = cache.put_taps(keys[kept], values[kept])
        if self.scope == "column":
            seen, columns = column_attend(query, keys, values)
            weights = columns[:, :, -1, :, None].float()
        elif self.scope == "cross" and held is not None and h.shape[1] == 1:
            seen, weights = cross_row_attend(query, keys[:-1], values[:-1], held.own_keys, held.own_values, held.shared)
        elif self.scope == "cross":
            seen = cross_attend(query, keys, values)
        elif held is not None and h.shape[1] == 1:
            seen, weights = row_attend(query, held.own_keys, held.own_values, held.shared)
        else:
            seen = joint_attend(query, keys, values)
        return self._finish(h, seen), weights

    def forward_without(
        self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, below: Memory, hidden: set[int]
    ) -> Tensor:
        """(B, T, D) -> (B, T, D) with some depths hidden, by number; if all are hidden, the attention adds 0."""
        query, keys, values = self.project(h, depths, cos_sin, below)
        left = [s for s in range(len(depths)) if s not in hidden]
        if not left:
            return self._finish(h, torch.zeros_like(query))
        if self.scope == "column" or (self.scope == "cross" and left[-1] < len(depths) - 1):
            return self._finish(h, column_attend(query, keys[left], values[left])[0])
        attend_to = cross_attend if self.scope == "cross" else joint_attend
        return self._finish(h, attend_to(query, keys[left], values[left]))

    def ablate(
        self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, below: Memory, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the last position of (1, T, D) with sources (M, n, T) hidden -> (M, 1, D) and weights (M, H, n,
        T)."""
        query, keys, values = self.project(h, depths, cos_sin, below)
        if self.scope != "context":
            hidden = hidden.clone()
            hidden[:, : len(depths) - (self.scope == "cross"), :-1] = True
        seen, weights = ablated_attend(query[:, :, -1:], keys, values, hidden)
        return self._finish(h[:, -1:], seen), weights

    def _finish(self, h: Tensor, seen: Tensor) -> Tensor:
        h = h + self.dropout(self.attention.merge(seen))
        return h + self.dropout(self.feed_forward(self.feed_forward_norm(h)))  # type: ignore[no-any-return]
