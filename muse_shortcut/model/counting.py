"""What a core costs, counted: floating-point operations and bytes of cache a token."""

from __future__ import annotations

import torch

from muse_shortcut.config import ModelConfig
from muse_shortcut.model.cache import Cache

__all__ = ["cache_bytes_per_token", "flops_per_token"]


def flops_per_token(config: ModelConfig) -> int:
    """Of the forward pass over a whole context, a token: each product of a matrix of m x n with a vector is 2 m n, and
    training costs three times as many (the backward pass has two products for each). Norms, softmaxes, rotations and
    what is added are left out, as everywhere (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).

        layers below     (L - 1) (2 (4 D^2 + 2 D F) + 4 D (T + 1) / 2)
        last layer       2 (2 D^2 + 2 D F)  +  n 2 (2 D^2 + M)  +  n 4 D (T + 1) / 2
        heads            K 2 D V

    F is the feed-forward width; a position sees (T + 1) / 2 others on average, and pays 2 D for scores and 2 D for
    values with each. M are the numbers of a depth's feature map: 2 D W for an MLP of width W, D^2 for a matrix.
    For scope `column` a position sees one place of each depth, not (T + 1) / 2.
    """
    D, F, shortcut = config.width, config.feed_forward, config.shortcut
    seen = (config.context + 1) / 2
    below = (config.layers - 1) * (2 * (4 * D * D + 2 * D * F) + 4 * D * seen)
    feature = 0
    if shortcut is not None:
        feature = D * D if shortcut.feature_map == "linear" else 2 * D * shortcut.mlp_width
    per_depth = 2 * (2 * D * D + feature) + 4 * D * (1 if shortcut and shortcut.scope == "column" else seen)
    last = 2 * (2 * D * D + 2 * D * F) + len(config.depths) * per_depth
    return round(below + last + config.streams * 2 * D * config.vocabulary_size)


def cache_bytes_per_token(config: ModelConfig) -> int:
    """Of one candidate, in float32."""
    cache = Cache(config, 1, torch.device("meta"), torch.float32)
    tensors = (cache.keys, cache.values, cache.tap_keys, cache.tap_values)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // config.context
