"""Residual vector quantisation in training: codebooks as exponential moving averages, restarts of dead codes, and a
gradient for every layer.

The codebooks are the tensors of encodec's `EuclideanCodebook`, updated here because encodec's own forward pass has two
faults: it replaces a dead code and then averages it with its old position, so that no dead code recovers; and it
subtracts the straight-through result, which leaves every layer after the first without a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["fit_codebooks", "quantise"]

_ROUNDS = 15
"""Iterations of k-means."""


def quantise(vq: Any, x: Tensor, codebooks: int, *, decay: float, restart_below: float) -> tuple[Tensor, Tensor]:
    """Quantise x with the first `codebooks` layers, and update their codes.

    Args:
        vq: An `encodec` ResidualVectorQuantization.
        x: (B, D, F) output of the encoder.
        codebooks: Number of layers, at least 1.
        decay: Decay of the exponential moving averages.
        restart_below: A code that is used less often than this fraction of the mean is moved to a random input vector.

    Returns:
        The sum of the codes (B, D, F), with the gradient of x, and the commitment loss of each layer (codebooks,).
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
    """Return the nearest codes to (B, F, D), from the codebook before its update."""
    vectors = x.flatten(0, 1)
    indices = codebook.quantize(vectors)
    nearest = F.embedding(indices, codebook.embed)
    counts, sums = _gathered(vectors, indices, len(codebook.embed))
    codebook.cluster_size.lerp_(counts, 1 - decay)
    codebook.embed_avg.lerp_(sums, 1 - decay)
    mean = codebook.cluster_size.mean()
    dead = codebook.cluster_size < restart_below * mean
    if dead.any():
        # Its count is set to the mean, so that it stays until it turns out that no vector is near it.
        codebook.embed_avg[dead] = _some(vectors, int(dead.sum())) * mean
        codebook.cluster_size[dead] = mean
    codebook.embed.copy_(codebook.embed_avg / codebook.cluster_size.clamp_min(1e-6)[:, None])
    return nearest.view(x.shape)


@torch.no_grad()
def fit_codebooks(vq: Any, vectors: Tensor, frames: int) -> None:
    """Fit the codebooks by k-means (Lloyd's algorithm), each to the residual of the previous ones.

    Args:
        vq: An `encodec` ResidualVectorQuantization.
        vectors: (N, D) outputs of the encoder.
        frames: Frames of a training step; the counts of the moving averages are scaled from N vectors to this number.
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
    """Return the number of vectors (N, D) that are assigned to each code (bins,), and their sums (bins, D)."""
    counts = torch.bincount(indices, minlength=bins).to(vectors.dtype)
    return counts, vectors.new_zeros(bins, vectors.shape[1]).index_add_(0, indices, vectors)


def _some(vectors: Tensor, count: int) -> Tensor:
    """Choose `count` random rows of (N, D)."""
    return vectors[torch.randint(len(vectors), (count,), device=vectors.device)]
