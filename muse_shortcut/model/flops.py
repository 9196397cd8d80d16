"""Analytic cost of a core: floating-point operations and bytes of cache per token."""

from __future__ import annotations

import torch

from muse_shortcut.config import ModelConfig
from muse_shortcut.model.cache import Cache

__all__ = ["cache_bytes_per_token", "flops_per_token"]


def flops_per_token(config: ModelConfig) -> int:
    """Count the operations per token of the forward pass over a whole context. The product of an m x n matrix with a
    vector costs 2 m n, and training costs three times as much (the backward pass has two products for each). Norms,
    softmaxes, rotations and additions are not counted (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).

        layers below     (L - 1) (2 (4 D^2 + 2 D F) + 4 D (T + 1) / 2)
        last layer       2 (2 D^2 + 2 D F)  +  n 2 (2 D^2 + M)  +  4 D p
        mixing           see `_mixing`
        heads            K 2 D V

    F is the feed-forward width; a position sees (T + 1) / 2 others on average, and pays 2 D for scores and 2 D for
    values with each. M is the number of weights of a depth's feature map: 2 D W for an MLP of width W, D^2 for a
    matrix. The last layer sees p sources: n (T + 1) / 2, for scope `column` n, for scope `cross` (T + 1) / 2 + n - 1. A
    custom last layer (`last_layer`) is counted like the built-in one.
    """
    D, F, shortcut, n = config.width, config.feed_forward, config.shortcut, len(config.depths)
    seen = (config.context + 1) / 2
    below = (config.layers - 1) * (2 * (4 * D * D + 2 * D * F) + 4 * D * seen)
    feature, places = 0, n * seen
    if shortcut is not None:
        feature = D * D if shortcut.feature_map == "linear" else 2 * D * shortcut.mlp_width
        places = {"context": n * seen, "column": n, "cross": seen + n - 1}[shortcut.scope]
    last = 2 * (2 * D * D + 2 * D * F) + n * 2 * (2 * D * D + feature) + 4 * D * places
    return round(below + last + _mixing(config) + config.streams * 2 * D * config.vocabulary_size)


def _mixing(config: ModelConfig) -> int:
    """Cost of mixing, summed over the places that mix; s is the number of depths, or of layers' keys and values, that
    each mixes.

    weights            2 s D
    query              4 D^2 + 4 s H D        value and output matrix; scores and sums of whole streams per head
    key_value          4 s H D                keys and values
    value_residual     4 D
    depth_attention    4 s D
    """
    mixing, D, H, L = config.mixing, config.width, config.heads, config.layers
    if mixing is None:
        return 0
    every = mixing.layers == "every"
    if mixing.kind == "weights":
        return sum(2 * s * D for s in (range(2, L + 2) if every else [L]))
    sources = range(2, L + 1) if every else [L] if L > 1 else []
    once, each = {
        "query": (4 * D * D, 4 * H * D),
        "key_value": (0, 4 * H * D),
        "value_residual": (4 * D, 0),
        "depth_attention": (0, 4 * D),
    }[mixing.kind]
    return sum(once + each * s for s in sources)


def cache_bytes_per_token(config: ModelConfig) -> int:
    """Return the bytes of cache per token of one candidate, in float32."""
    cache = Cache(config, 1, torch.device("meta"), torch.float32)
    tensors = (cache.keys, cache.values, cache.tap_keys, cache.tap_values)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // config.context
