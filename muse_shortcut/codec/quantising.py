"""Residual vector quantisation in training: codebooks that are fitted and then move, whose dead codes return, and a
gradient for every layer.

The codebooks are encodec's (the tensors of its `EuclideanCodebook`), moved here: its own forward pass puts a dead code
where something is and then takes the moving mean of where it was, so that none ever comes back; and it subtracts the
straight-through result, which leaves the second layer and all below it without a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["fit_codebooks", "quantise"]

_ROUNDS = 15
"""Of k-means."""


def quantise(vq: Any, x: Tensor, codebooks: int, *, decay: float, restart_below: float) -> tuple[Tensor, Tensor]:
    """What the first `codebooks` layers make of x; their codes move towards it.

    Args:
        vq: an `encodec` ResidualVectorQuantization.
        x: (B, D, F), what the encoder gives.
        codebooks: at least 1.
        decay: of the moving means.
        restart_below: a code that comes less often than this times the mean is put where something is.

    Returns:
        The sum of the codes (B, D, F), with the gradient of x, and the commitment of each layer (codebooks,).
    """
    residual, total, commitments = x, torch.zeros_like(x), []
    for layer in vq.layers[:codebooks]:
        code = _code(layer._codebook, residual.detach().transpose(1, 2), decay, restart_below).transpose(1, 2)
        commitments.append(F.mse_loss(residual, code))
        residual = residual - code
        total = total + code
    return x + (total - x).detach(), torch.stack(commitments)


@torch.no_grad()
def _code(codebook: Any, x: Tensor, decay: float, restart_below: float) -> Tensor:
    """The nearest codes to (B, F, D), of the codebook as it was before it moves."""
    vectors = x.flatten(0, 1)
    indices = codebook.quantize(vectors)
    nearest = F.embedding(indices, codebook.embed)
    counts, sums = _gathered(vectors, indices, len(codebook.embed))
    codebook.cluster_size.lerp_(counts, 1 - decay)
    codebook.embed_avg.lerp_(sums, 1 - decay)
    mean = codebook.cluster_size.mean()
    dead = codebook.cluster_size < restart_below * mean
    if dead.any():
        # As if it had come as often as any: it stays until it turns out that nothing is near it.
        codebook.embed_avg[dead] = _some(vectors, int(dead.sum())) * mean
        codebook.cluster_size[dead] = mean
    codebook.embed.copy_(codebook.embed_avg / codebook.cluster_size.clamp_min(1e-6)[:, None])
    return nearest.view(x.shape)


@torch.no_grad()
def fit_codebooks(vq: Any, vectors: Tensor, frames: int) -> None:
    """Fit the codebooks by k-means (Lloyd's), each to what the ones before it leave.

    Args:
        vq: an `encodec` ResidualVectorQuantization.
        vectors: (N, D), what the encoder gives.
        frames: of a step: what the moving means begin with is as if N vectors had come in so many.
    """
    left = vectors
    for layer in vq.layers:
        book = layer._codebook
        bins = len(book.embed)
        book.embed.copy_(_some(left, bins))
        for _ in range(_ROUNDS):
            counts, sums = _gathered(left, book.quantize(left), bins)
            alone = counts == 0
            book.embed.copy_(sums / counts.clamp_min(1)[:, None])
            book.embed[alone] = _some(left, int(alone.sum()))
        indices = book.quantize(left)
        counts, _ = _gathered(left, indices, bins)
        book.cluster_size.copy_(counts * frames / len(left))
        book.embed_avg.copy_(book.embed * book.cluster_size[:, None])
        book.inited.fill_(1.0)
        left = left - F.embedding(indices, book.embed)


def _gathered(vectors: Tensor, indices: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """How many vectors (N, D) go to each code (bins,), and their sums (bins, D)."""
    counts = torch.bincount(indices, minlength=bins).to(vectors.dtype)
    return counts, vectors.new_zeros(bins, vectors.shape[1]).index_add_(0, indices, vectors)


def _some(vectors: Tensor, count: int) -> Tensor:
    """(count, D): random ones of (N, D)."""
    return vectors[torch.randint(len(vectors), (count,), device=vectors.device)]
