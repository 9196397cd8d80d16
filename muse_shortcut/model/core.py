"""The GPT core, plain or with the layerwise shortcut, in one class.

    h_0 = sum_k E_k[x_k]                              blocks 1 .. L-1 are ordinary pre-norm causal blocks
    F_s = M_s(norm(h_s))        for s in S            feature map of depth s
    Q = W_Q norm(h_{L-1});  K_s = W_K F_s;  V_s = W_V F_s      rotary positions on Q and on every K_s
    A_i(s, j) = softmax over all (s, j <= i) jointly of Q_i . K_s,j / sqrt(C)      with `norm`, Q and K of unit RMS
    u = h_{L-1} + W_O sum_{s,j} A(s, j) V_s,j;  y = u + FFN(norm(u));  logits_k = head_k(norm(y))

The plain GPT is the case S = {L-1}, M the identity. Source: arXiv 2409.10870, and ARCHITECTURE.md section 5 for what
the paper leaves open. Does not know what an id means, nor how one is drawn from logits.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from muse_shortcut.config import ModelConfig, ShortcutConfig
from muse_shortcut.model.attention import attend, column_attend, cut_attend, joint_attend, row_attend
from muse_shortcut.model.cache import Cache

__all__ = ["Core", "StepOutput"]

_EPSILON = 1e-6
"""Of the norm of queries and keys. torch's default depends on the type, and would outweigh the keys of a new core."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What one cached step gives."""

    logits: Tensor
    """(B, K, V)."""
    weights: Tensor
    """(B, H, n, T) float32: the last layer's attention, which sums to 1 over (n, T). For scope `column` T is 1, the
    step's own position."""


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864): x (..., T, C), turns (2, T, C / 2) of cosines and sines."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = turns.to(x.dtype)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class FeedForward(nn.Module):
    """D -> feed_forward -> D with GELU."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(F.gelu(self.up(x))))  # type: ignore[no-any-return]


class FeatureMap(nn.Module):
    """F_s = M_s(norm(h_s)), of one depth."""

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


class Attention(nn.Module):
    """The matrices of one attention layer, and how a width splits into heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key_value = nn.Linear(config.width, 2 * config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """(..., T, D) -> (..., H, T, C)."""
        return x.view(*x.shape[:-1], self.heads, -1).transpose(-2, -3)

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., T, D) -> two of (..., H, T, C)."""
        key, value = self.key_value(x).chunk(2, dim=-1)
        return self.split(key), self.split(value)

    def merge(self, x: Tensor) -> Tensor:
        """(..., H, T, C) -> (..., T, D), through the output matrix."""
        return self.output(x.transpose(-2, -3).flatten(-2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """An ordinary pre-norm causal block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, bias=False)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width, bias=False)
        self.feed_forward = FeedForward(config.width, config.feed_forward, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, h: Tensor, turns: Tensor, cache: Cache | None, layer: int) -> Tensor:
        x = self.attention_norm(h)
        query = rotate(self.attention.split(self.attention.query(x)), turns)
        key, value = self.attention.keys_and_values(x)
        key = rotate(key, turns)
        held = None if cache is None else cache.put(layer, key, value)
        if held is not None and held.shared is not None:
            shared_key, shared_value = held.shared
            shared = (shared_key[None], shared_value[None])
            seen, _ = row_attend(query, held.own_keys[None], held.own_values[None], shared)
            return self._finish(h, seen)
        if held is not None:
            key, value = held
        if key.shape[2] > query.shape[2]:
            # One step, and all that is cached came before it.
            seen = F.scaled_dot_product_attention(query, key, value)
        else:
            seen = attend(query, key, value)
        return self._finish(h, seen)

    def _finish(self, h: Tensor, seen: Tensor) -> Tensor:
        h = h + self.dropout(self.attention.merge(seen))
        return h + self.dropout(self.feed_forward(self.feed_forward_norm(h)))  # type: ignore[no-any-return]


class LastBlock(nn.Module):
    """The last block: its attention is over the depths S."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.scope = config.shortcut.scope if config.shortcut is not None else "context"
        self.norm = config.shortcut is not None and config.shortcut.norm
        self.query_norm = nn.LayerNorm(config.width, bias=False)
        self.features = nn.ModuleList(FeatureMap(config, config.shortcut) for _ in config.depths)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width, bias=False)
        self.feed_forward = FeedForward(config.width, config.feed_forward, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def _query(self, h: Tensor, turns: Tensor) -> Tensor:
        return rotate(self._normed(self.attention.split(self.attention.query(self.query_norm(h)))), turns)

    def _normed(self, x: Tensor) -> Tensor:
        """(..., C), each head's vector with root mean square 1 (Henry et al. 2020, arXiv 2010.04245)."""
        # Under autocast a norm gives float32 on some devices, for which there may be no fused attention.
        return F.rms_norm(x, x.shape[-1:], eps=_EPSILON).to(x.dtype) if self.norm else x

    def keys_and_values(self, depths: list[Tensor], turns: Tensor) -> tuple[Tensor, Tensor]:
        """n of (B, T, D) -> two of (n, B, H, T, C)."""
        features = torch.stack([feature(depth) for feature, depth in zip(self.features, depths, strict=True)])
        keys, values = self.attention.keys_and_values(features)
        return rotate(self._normed(keys), turns), values

    def forward(self, h: Tensor, depths: list[Tensor], turns: Tensor, cache: Cache | None) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> (B, T, D), and for one cached position the weights (B, H, n, T), else an empty tensor."""
        query = self._query(h, turns)
        keys, values = self.keys_and_values(depths, turns)
        weights = h.new_empty(0)
        held = None if cache is None else cache.put_taps(keys, values)
        if self.scope == "column":
            seen, columns = column_attend(query, keys, values)
            weights = columns[:, :, -1, :, None].float()
        elif held is not None and h.shape[1] == 1:
            seen, weights = row_attend(query, held.own_keys, held.own_values, held.shared)
        else:
            seen = joint_attend(query, keys, values)
        return self._finish(h, seen), weights

    def forward_without(self, h: Tensor, depths: list[Tensor], turns: Tensor, hidden: set[int]) -> Tensor:
        """(B, T, D) -> (B, T, D) where some depths, by number, are not seen; nothing is attended to if none is left."""
        query = self._query(h, turns)
        left = [s for s in range(len(depths)) if s not in hidden]
        if not left:
            return self._finish(h, torch.zeros_like(query))
        keys, values = self.keys_and_values(depths, turns)
        attend_to = column_attend if self.scope == "column" else joint_attend
        seen = attend_to(query, keys[left], values[left])
        return self._finish(h, seen if isinstance(seen, Tensor) else seen[0])

    def cut(self, h: Tensor, depths: list[Tensor], turns: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The last position of (1, T, D) with sources (M, n, T) hidden -> (M, 1, D) and weights (M, H, n, T)."""
        keys, values = self.keys_and_values(depths, turns)
        if self.scope == "column":
            hidden = hidden.clone()
            hidden[:, :, :-1] = True
        seen, weights = cut_attend(self._query(h[:, -1:], turns[:, -1:]), keys, values, hidden)
        return self._finish(h[:, -1:], seen), weights

    def _finish(self, h: Tensor, seen: Tensor) -> Tensor:
        h = h + self.dropout(self.attention.merge(seen))
        return h + self.dropout(self.feed_forward(self.feed_forward_norm(h)))  # type: ignore[no-any-return]


class Core(nn.Module):
    """Ids in, logits out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.ModuleList(
            nn.Embedding(config.vocabulary_size, config.width) for _ in range(config.streams)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers - 1))
        self.last = LastBlock(config)
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.heads = nn.ModuleList(
            nn.Linear(config.width, config.vocabulary_size, bias=False) for _ in range(config.streams)
        )
        self.register_buffer("turns", _turns(config.context, config.head_width), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Normal with 0.02; what is added to the residual stream is scaled down by its number of summands (GPT-2)."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        scale = 0.02 / math.sqrt(2 * self.config.layers)
        for block in [*self.blocks, self.last]:
            nn.init.normal_(block.attention.output.weight, std=scale)
            nn.init.normal_(block.feed_forward.down.weight, std=scale)
        if self.config.shortcut is not None and self.config.shortcut.start == "zero":
            nn.init.zeros_(self.last.attention.output.weight)
        if self.config.tied_embeddings:
            for head, embedding in zip(self.heads, self.embeddings, strict=True):
                head.weight = embedding.weight

    def parameter_count(self) -> int:
        """Parameters, tied ones once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def make_cache(self, batch: int) -> Cache:
        """An empty cache for that many candidates, where the parameters are."""
        weight = self.norm.weight
        return Cache(self.config, batch, weight.device, weight.dtype)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T, K) -> logits (B, T, K, V)."""
        h, _ = self._run(ids, None)
        return self._logits(h)

    def forward_without(self, ids: Tensor, depths: Collection[int]) -> Tensor:
        """Logits as of `forward`, with some depths hidden from the last layer; all of them: its attention adds 0."""
        h, outputs, turns = self._below(ids, None)
        hidden = {number for number, depth in enumerate(self.config.depths) if depth in depths}
        return self._logits(self.last.forward_without(h, outputs, turns, hidden))

    def prefill(self, ids: Tensor, cache: Cache) -> None:
        """Read (B, T, K) into an empty cache."""
        assert cache.length == 0
        assert ids.shape[1] <= cache.capacity
        self._run(ids, cache)

    def step(self, ids: Tensor, cache: Cache) -> StepOutput:
        """Read one step (B, K) after what the cache holds."""
        assert cache.length < cache.capacity
        h, weights = self._run(ids[:, None], cache)
        return StepOutput(self._logits(h[:, -1]), weights)

    def cut(self, ids: Tensor, hidden: Tensor) -> StepOutput:
        """What comes after the last of (1, T, K), once for each of M sets of sources that the last layer may not see.

        Args:
            ids: (1, T, K).
            hidden: (M, n, T) bool: True hides a depth at a position. Nothing hidden gives what `step` gives.

        Returns:
            Logits (M, K, V) and weights (M, H, n, T), for scope `column` too.
        """
        h, depths, turns = self._below(ids, None)
        h, weights = self.last.cut(h, depths, turns, hidden)
        return StepOutput(self._logits(h[:, -1]), weights)

    def _run(self, ids: Tensor, cache: Cache | None) -> tuple[Tensor, Tensor]:
        h, depths, turns = self._below(ids, cache)
        h, weights = self.last(h, depths, turns, cache)
        if cache is not None:
            cache.length += ids.shape[1]
        return h, weights

    def _below(self, ids: Tensor, cache: Cache | None) -> tuple[Tensor, list[Tensor], Tensor]:
        """h_{L-1} (B, T, D), the outputs of the depths that the last layer attends to, and the positions' turns."""
        start = 0 if cache is None else cache.length
        turns = self.turns[:, start : start + ids.shape[1]]  # type: ignore[index]
        embedded = [embedding(ids[..., k]) for k, embedding in enumerate(self.embeddings)]
        h = self.dropout(torch.stack(embedded).sum(0) if len(embedded) > 1 else embedded[0])
        tapped = {0: h}
        for layer, block in enumerate(self.blocks):
            h = block(h, turns, cache, layer)
            tapped[layer + 1] = h
        return h, [tapped[depth] for depth in self.config.depths], turns

    def _logits(self, h: Tensor) -> Tensor:
        y = self.norm(h)
        return torch.stack([head(y) for head in self.heads], dim=-2)


def _turns(context: int, head_width: int) -> Tensor:
    """(2, T, C / 2): cosines and sines of each position's angles."""
    frequencies = 10_000.0 ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.arange(context, dtype=torch.float64)[:, None] * frequencies
    return torch.stack((angles.cos(), angles.sin())).float()
