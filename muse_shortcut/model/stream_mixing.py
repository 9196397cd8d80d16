"""Mixes the outputs of the layers below into the input of a layer, position by position.

Nothing of it is cached: it affects keys and values only through the input of a layer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from muse_shortcut.config import ModelConfig

__all__ = ["DepthQuery", "DepthWeights", "StreamMixing", "stream_mixing"]


class StreamMixing(nn.Module, ABC):
    """Computes the residual stream after a layer from the outputs of all layers so far."""

    @abstractmethod
    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        """Outputs of depths 0 .. l, (B, T, D) each -> (B, T, D)."""


class DepthWeights(StreamMixing):
    """Depth-weighted average (DenseFormer; Pagliardini et al. 2024, arXiv 2402.02622): sum_s w_s h_s with a learned
    weight per depth, initialised to select the last one."""

    def __init__(self, depths: int) -> None:
        super().__init__()
        weights = torch.zeros(depths)
        weights[-1] = 1.0
        self.weights = nn.Parameter(weights)

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        mixed = self.weights[-1] * outputs[-1]
        for weight, output in zip(self.weights[:-1], outputs[:-1], strict=True):
            mixed = mixed + weight * output
        return mixed


class DepthQuery(StreamMixing):
    """One learned query per head over all depths, the same for every token, as image models pool patches (Touvron et
    al. 2021, arXiv 2112.13692, section 3):

        a_h = softmax over s of (q_h . norm(h_s) / sqrt(D))      h = h_l + W_O concat_h (W_V,h sum_s a_h(s) norm(h_s))

    Query and key matrix are merged into one vector, because the query is constant; it is initialised to 0, which weighs
    all depths equally.
    """

    def __init__(self, config: ModelConfig, depths: int) -> None:
        super().__init__()
        self._heads = config.heads
        self.norms = nn.ModuleList(nn.LayerNorm(config.width, bias=False) for _ in range(depths))
        # Flat: Muon would make a matrix of queries orthogonal.
        self.query = nn.Parameter(torch.zeros(config.heads * config.width))
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        normed = torch.stack([norm(output) for norm, output in zip(self.norms, outputs, strict=True)])
        width = normed.shape[-1]
        scores = torch.einsum("sbtd,hd->sbth", normed, self.query.view(self._heads, width)) / math.sqrt(width)
        shares = scores.softmax(0, dtype=torch.promote_types(scores.dtype, torch.float32)).to(normed.dtype)
        pooled = torch.einsum("sbth,sbtd->bthd", shares, normed)
        values = torch.einsum("bthd,hcd->bthc", pooled, self.value.weight.view(self._heads, -1, width))
        return outputs[-1] + self.output(values.flatten(-2))  # type: ignore[no-any-return]


def stream_mixing(config: ModelConfig) -> nn.ModuleDict:
    """Return the mixing modules by the depth (as a string) after which each is applied; this includes L if all layers
    mix."""
    mixing = config.mixing
    if mixing is None or mixing.kind not in ("weights", "query"):
        return nn.ModuleDict()
    last = config.layers - 1
    if mixing.kind == "query":
        depths = range(1, last + 1) if mixing.layers == "every" else range(last, last + 1)
        return nn.ModuleDict({str(depth): DepthQuery(config, depth + 1) for depth in depths})
    depths = range(1, last + 2) if mixing.layers == "every" else range(last, last + 1)
    return nn.ModuleDict({str(depth): DepthWeights(depth + 1) for depth in depths})
