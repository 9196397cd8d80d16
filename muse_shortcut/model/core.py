"""The GPT core, plain or with the layerwise shortcut, in one class.

    h_0 = sum_k E_k[x_k]                              blocks 1 .. L-1 are ordinary pre-norm causal blocks
    F_s = M_s(norm(h_s))        for s in S            feature map of depth s
    Q = W_Q norm(h_{L-1});  K_s = W_K F_s;  V_s = W_V F_s      rotary positions on Q and on every K_s
    A_i(s, j) = softmax over all (s, j <= i) jointly of Q_i . K_s,j / sqrt(C)      with `norm`, Q and K of unit RMS
    u = h_{L-1} + W_O sum_{s,j} A(s, j) V_s,j;  y = u + FFN(norm(u));  logits_k = head_k(norm(y))

The plain GPT is the case S = {L-1}, M the identity. Source: arXiv 2409.10870; docs/model.md describes what the paper
leaves open. Does not know what an id means, nor how ids are sampled.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from muse_shortcut.config import ModelConfig
from muse_shortcut.model.blocks import Block, Memory
from muse_shortcut.model.cache import Cache
from muse_shortcut.model.last_layer import LastBlock
from muse_shortcut.model.own_last import OwnLast
from muse_shortcut.model.stream_mixing import DepthQuery, stream_mixing

__all__ = ["Core", "StepOutput"]


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The output of one cached step."""

    logits: Tensor
    """(B, K, V) logits."""
    weights: Tensor
    """(B, H, n, T) float32 attention weights of the last layer, which sum to 1 over (n, T). For scope `column` T is 1,
    the step's own position."""


class LowerLayers(NamedTuple):
    """The inputs of the last layer from the layers below."""

    h: Tensor
    """(B, T, D) residual stream."""
    depths: list[Tensor]
    """n of (B, T, D): outputs of the depths that the last layer attends to."""
    cos_sin: Tensor
    """(2, T, C / 2) rotary cosines and sines of the positions."""
    outputs: list[Tensor]
    """L of (B, T, D): outputs of all depths, before any mixing."""
    memory: Memory
    """Keys and values of the layers below."""


class Core(nn.Module):
    """The network: ids to logits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.ModuleList(
            nn.Embedding(config.vocabulary_size, config.width) for _ in range(config.streams)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers - 1))
        self.last: LastBlock | OwnLast = LastBlock(config) if config.last_layer is None else OwnLast(config)
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.heads = nn.ModuleList(
            nn.Linear(config.width, config.vocabulary_size, bias=False) for _ in range(config.streams)
        )
        self.mixings = stream_mixing(config)
        self.register_buffer("cos_sin", _cos_sin(config.context, config.head_width), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Initialise weights as normal with standard deviation 0.02; projections into the residual stream are scaled
        down by the number of their summands (GPT-2)."""
        last = self.last
        blocks = [*self.blocks, *([last] if isinstance(last, LastBlock) else [])]
        theirs = set() if isinstance(last, LastBlock) else set(last.modules())
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding) and module not in theirs:
                nn.init.normal_(module.weight, std=0.02)
        scale = 0.02 / math.sqrt(2 * self.config.layers)
        for block in blocks:
            nn.init.normal_(block.attention.output.weight, std=scale)
            nn.init.normal_(block.feed_forward.down.weight, std=scale)
        for mixing in self.mixings.values():
            if isinstance(mixing, DepthQuery):
                nn.init.normal_(mixing.output.weight, std=scale)
        zero = self.config.shortcut is not None and self.config.shortcut.start == "zero"
        if zero and isinstance(last, LastBlock):
            nn.init.zeros_(last.attention.output.weight)
        if self.config.tied_embeddings:
            for head, embedding in zip(self.heads, self.embeddings, strict=True):
                head.weight = embedding.weight

    def parameter_count(self) -> int:
        """Return the number of parameters; tied ones count once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def make_cache(self, batch: int) -> Cache:
        """Create an empty cache for `batch` candidates, on the device of the parameters."""
        weight = self.norm.weight
        return Cache(self.config, batch, weight.device, weight.dtype)

    def forward(self, ids: Tensor) -> Tensor:
        """Compute logits: ids (B, T, K) -> (B, T, K, V)."""
        h, _ = self._run(ids, None)
        return self._logits(h)

    def forward_without(self, ids: Tensor, depths: Collection[int]) -> Tensor:
        """Compute logits like `forward`, with some depths hidden from the last layer; if all are hidden, its attention
        adds 0."""
        below = self._below(ids, None)
        hidden = {number for number, depth in enumerate(self.config.depths) if depth in depths}
        h = self.last.forward_without(below.h, below.depths, below.cos_sin, below.memory, hidden)
        return self._logits(self._mixed(h, below))

    def prefill(self, ids: Tensor, cache: Cache) -> None:
        """Read ids (B, T, K) into an empty cache."""
        assert cache.length == 0
        assert ids.shape[1] <= cache.capacity
        self._run(ids, cache)

    def step(self, ids: Tensor, cache: Cache) -> StepOutput:
        """Read one step (B, K) after those in the cache, and append it to the cache."""
        assert cache.length < cache.capacity
        h, weights = self._run(ids[:, None], cache)
        return StepOutput(self._logits(h[:, -1]), weights)

    def ablate(self, ids: Tensor, hidden: Tensor) -> StepOutput:
        """Predict the step after (1, T, K), once for each of M sets of sources that are hidden from the last layer.

        Args:
            ids: (1, T, K) ids.
            hidden: (M, n, T) bool: true hides a depth at a position. With nothing hidden the result is that of `step`.

        Returns:
            Logits (M, K, V) and weights (M, H, n, T), for scope `column` too.
        """
        below = self._below(ids, None)
        h, weights = self.last.ablate(below.h, below.depths, below.cos_sin, below.memory, hidden)
        below = below._replace(outputs=[output[:, -1:] for output in below.outputs])
        return StepOutput(self._logits(self._mixed(h, below)[:, -1]), weights)

    def _run(self, ids: Tensor, cache: Cache | None) -> tuple[Tensor, Tensor]:
        below = self._below(ids, cache)
        h, weights = self.last(below.h, below.depths, below.cos_sin, cache, below.memory)
        if cache is not None:
            cache.length += ids.shape[1]
        return self._mixed(h, below), weights

    def _below(self, ids: Tensor, cache: Cache | None) -> LowerLayers:
        start = 0 if cache is None else cache.length
        cos_sin = self.cos_sin[:, start : start + ids.shape[1]]  # type: ignore[index]
        embedded = [embedding(ids[..., k]) for k, embedding in enumerate(self.embeddings)]
        h = self.dropout(torch.stack(embedded).sum(0) if len(embedded) > 1 else embedded[0])
        outputs, memory = [h], Memory()
        for depth, block in enumerate(self.blocks, 1):
            h = block(h, cos_sin, cache, memory)
            outputs.append(h)
            if str(depth) in self.mixings:
                h = self.mixings[str(depth)](outputs)
        # The input of the last layer is mixed, if mixing is configured.
        depths = [*outputs[:-1], h]
        return LowerLayers(h, [depths[depth] for depth in self.config.depths], cos_sin, outputs, memory)

    def _mixed(self, h: Tensor, below: LowerLayers) -> Tensor:
        """Return the input of the heads: the output of the last layer, mixed with the others if all layers mix."""
        name = str(self.config.layers)
        return self.mixings[name]([*below.outputs, h]) if name in self.mixings else h

    def _logits(self, h: Tensor) -> Tensor:
        y = self.norm(h)
        return torch.stack([head(y) for head in self.heads], dim=-2)


def _cos_sin(context: int, head_width: int) -> Tensor:
    """Return the cosines and sines of the angles of each position, (2, T, C / 2)."""
    frequencies = 10_000.0 ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.arange(context, dtype=torch.float64)[:, None] * frequencies
    return torch.stack((angles.cos(), angles.sin())).float()
