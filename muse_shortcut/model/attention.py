"""Causal attention over one depth, and over several depths in one softmax.

The joint softmax over n depths is n causal attentions merged by their log-sum-exp, as ring attention merges blocks of
a sequence (Liu et al. 2023, arXiv 2310.01889): with (out_s, lse_s) of each depth,

    lse = logsumexp_s lse_s      w_s = exp(lse_s - lse)      out = sum_s w_s out_s

and w_s is the share of attention on depth s. The backward pass of depth s calls that of the fused kernel with the
merged out and lse, from which the kernel recomputes the joint probabilities.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx, once_differentiable
from torch.nn import functional as F

__all__ = [
    "ablated_attend",
    "attend",
    "column_attend",
    "cross_attend",
    "cross_attend_spelled_out",
    "cross_row_attend",
    "joint_attend",
    "joint_attend_spelled_out",
    "row_attend",
]

_CPU_FUSED = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_CUDA_FUSED = (torch.bfloat16, torch.float16)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention: (B, H, T, C) each -> (B, H, T, C)."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def joint_attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Causal attention over all positions of all depths in one softmax.

    Args:
        query: (B, H, T, C).
        keys: (n, B, H, T, C).
        values: (n, B, H, T, C).

    Returns:
        (B, H, T, C).
    """
    if len(keys) == 1:
        return attend(query, keys[0], values[0])
    if _has_fused_kernel(query):
        return _JointAttention.apply(query, keys, values)  # type: ignore[no-any-return, no-untyped-call]
    return joint_attend_spelled_out(query, keys, values)[0]


def joint_attend_spelled_out(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The slow reference of `joint_attend`: a masked softmax over the concatenated depths. Also returns the weights.

    Returns:
        (B, H, T, C) and the weights (B, H, T, n, T).
    """
    steps = query.shape[2]
    hidden = torch.ones(steps, steps, dtype=torch.bool, device=query.device).triu(1)
    return _attend_spelled_out(query, keys, values, hidden[:, None])


def _attend_spelled_out(query: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Attention with a mask of hidden sources, (T, 1 or n, T) bool."""
    scores = torch.einsum("bhic,sbhjc->bhisj", query, keys) / math.sqrt(query.shape[-1])
    scores = scores.masked_fill(hidden, float("-inf"))
    weights = _softmax(scores.flatten(-2)).to(query.dtype).view(*scores.shape)
    return torch.einsum("bhisj,sbhjc->bhic", weights, values), weights


def column_attend(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over the depths at each token's own position. Shapes as in `joint_attend`; weights (B, H, T, n)."""
    scores = torch.einsum("bhtc,sbhtc->bhts", query, keys) / math.sqrt(query.shape[-1])
    weights = _softmax(scores).to(query.dtype)
    return torch.einsum("bhts,sbhtc->bhtc", weights, values), weights


def cross_attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Causal attention over all positions of the last depth and the current position of the other depths, in one
    softmax.

    Shapes as in `joint_attend`.
    """
    if len(keys) == 1:
        return attend(query, keys[0], values[0])
    if _has_fused_kernel(query):
        return _CrossAttention.apply(query, keys, values)  # type: ignore[no-any-return, no-untyped-call]
    return cross_attend_spelled_out(query, keys, values)[0]


def cross_attend_spelled_out(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The slow reference of `cross_attend`; also returns the weights (B, H, T, n, T)."""
    steps, n = query.shape[2], len(keys)
    hidden = torch.ones(steps, steps, dtype=torch.bool, device=query.device).triu(1)
    elsewhere = ~torch.eye(steps, dtype=torch.bool, device=query.device)
    return _attend_spelled_out(query, keys, values, torch.stack([elsewhere] * (n - 1) + [hidden], dim=1))


def cross_row_attend(
    query: Tensor,
    column_keys: Tensor,
    column_values: Tensor,
    keys: Tensor,
    values: Tensor,
    shared: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The attention of one position as in `cross_attend`, over the cache of the last depth.

    Args:
        query: (B, H, 1, C).
        column_keys: (n - 1, B, H, 1, C), those of the other depths at the position.
        column_values: (n - 1, B, H, 1, C).
        keys: (1, B, H, T, C), none later than the query.
        values: likewise.
        shared: As in `row_attend`.

    Returns:
        (B, H, 1, C) and the weights (B, H, n, T' + T) in float32.
    """
    # A softmax is invariant to order: the column is appended to the row of the last depth.
    places = [x.squeeze(3).permute(1, 2, 0, 3)[None] for x in (column_keys, column_values)]
    out, row = row_attend(query, torch.cat((keys, places[0]), 3), torch.cat((values, places[1]), 3), shared)
    others = len(column_keys)
    weights = row.new_zeros(*row.shape[:2], others + 1, row.shape[-1] - others)
    weights[:, :, -1] = row[:, :, 0, : row.shape[-1] - others]
    weights[:, :, :-1, -1] = row[:, :, 0, row.shape[-1] - others :]
    return out, weights


def row_attend(
    query: Tensor, keys: Tensor, values: Tensor, shared: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """The joint attention of one position over a cache, with its weights.

    Args:
        query: (B, H, 1, C).
        keys: (n, B, H, T, C), none of them later than the query.
        values: likewise.
        shared: Keys and values (n, 1, H, T', C) of earlier positions, which are the same for the whole batch. They are
            read from memory once instead of B times, and memory traffic dominates the cost of a step.

    Returns:
        (B, H, 1, C) and the weights (B, H, n, T' + T) in float32.
    """
    scale = 1.0 / math.sqrt(query.shape[-1])
    # (n, B, H, T, C) @ (B, H, C, 1)
    scores = torch.matmul(keys, query.transpose(-1, -2)).squeeze(-1).permute(1, 2, 0, 3) * scale
    if shared is not None:
        # (H, B, C) @ (n, H, C, T')
        by_head = query.squeeze(2).transpose(0, 1)
        before = torch.matmul(by_head, shared[0].squeeze(1).transpose(-1, -2)).permute(2, 1, 0, 3) * scale
        scores = torch.cat((before, scores), dim=-1)
    weights = _softmax(scores.flatten(-2)).view(*scores.shape)
    own = weights[..., weights.shape[-1] - keys.shape[3] :].to(values.dtype)
    # (n, B, H, 1, T) @ (n, B, H, T, C), summed over depths
    out = torch.matmul(own.permute(2, 0, 1, 3).unsqueeze(-2), values).sum(0)
    if shared is not None:
        # (n, H, B, T') @ (n, H, T', C), likewise
        first = weights[..., : weights.shape[-1] - keys.shape[3]].to(values.dtype)
        out = out + torch.matmul(first.permute(2, 1, 0, 3), shared[1].squeeze(1)).sum(0).transpose(0, 1).unsqueeze(2)
    return out, weights.float()


def ablated_attend(query: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The joint attention of one position, once for each of M sets of hidden sources.

    The softmax is over the remaining sources; if there are none, the result is 0.

    Args:
        query: (1, H, 1, C).
        keys: (n, 1, H, T, C), none of them later than the query.
        values: likewise.
        hidden: (M, n, T) bool, true for hidden sources.

    Returns:
        (M, H, 1, C) and the weights (M, H, n, T) in float32.
    """
    scores = torch.matmul(keys, query.transpose(-1, -2)).squeeze(-1).permute(1, 2, 0, 3) / math.sqrt(query.shape[-1])
    scores = scores.masked_fill(hidden[:, None], float("-inf"))
    weights = _softmax(scores.flatten(-2)).nan_to_num(0.0).view(*scores.shape)
    out = torch.einsum("mhst,shtc->mhc", weights.to(values.dtype), values.squeeze(1))
    return out.unsqueeze(2), weights.float()


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis, in float32 or higher precision."""
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))


def _has_fused_kernel(query: Tensor) -> bool:
    """Whether this device has a fused causal kernel for this dtype that returns its log-sum-exp."""
    if query.device.type == "cpu":
        return query.dtype in _CPU_FUSED
    if query.device.type == "cuda":
        return query.dtype in _CUDA_FUSED and query.shape[-1] % 8 == 0 and torch.version.hip is None
    return False


def _forward(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
    """Fused causal attention. Returns out, lse (B, H, T), and further values that the backward pass of the CUDA kernel
    needs."""
    if query.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, True)
        return out, lse, ()
    out, lse, *rest = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, True, False)
    return out, lse, tuple(rest[:-1])


def _backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, rest: tuple[Any, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    if query.device.type == "cpu":
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        on_cpu: tuple[Tensor, Tensor, Tensor] = kernel(gradient, query, key, value, out, lse, 0.0, True)
        return on_cpu
    cumulative_q, cumulative_k, longest_q, longest_k, seed, offset = rest
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_backward
    on_cuda: tuple[Tensor, Tensor, Tensor] = kernel(
        gradient, query, key, value, out, lse, cumulative_q, cumulative_k, longest_q, longest_k, 0.0, True, seed, offset
    )
    return on_cuda


class _JointAttention(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        parts = [_forward(query, key, value) for key, value in zip(keys, values, strict=True)]
        lses = torch.stack([lse for _, lse, _ in parts])
        lse = torch.logsumexp(lses, 0)
        shares = torch.exp(lses - lse)
        out = sum((share.unsqueeze(-1) * part for share, (part, _, _) in zip(shares, parts, strict=True)), start=0.0)
        out = torch.as_tensor(out).to(query.dtype)
        ctx.save_for_backward(query, keys, values, out, lse.contiguous())
        ctx.rest = [rest for _, _, rest in parts]  # type: ignore[attr-defined]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, keys, values, out, lse = ctx.saved_tensors
        gradient = gradient.contiguous()
        parts = [
            _backward(gradient, query, key, value, out, lse, rest)
            for key, value, rest in zip(keys, values, ctx.rest, strict=True)
        ]
        grad_query = torch.stack([part[0] for part in parts]).sum(0)
        return grad_query, torch.stack([part[1] for part in parts]), torch.stack([part[2] for part in parts])


class _CrossAttention(Function):
    """The fused kernel for the last depth, merged by log-sum-exp with the column, which is computed explicitly."""

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        row, row_lse, rest = _forward(query, keys[-1], values[-1])
        scores = _column_scores(query, keys[:-1])
        lse = torch.logsumexp(torch.cat((scores, row_lse[None])), 0)
        shares = torch.exp(scores - lse)
        out = torch.exp(row_lse - lse).unsqueeze(-1) * row + (shares.unsqueeze(-1) * values[:-1]).sum(0)
        out = out.to(query.dtype)
        ctx.save_for_backward(query, keys, values, out, lse.contiguous(), shares)
        ctx.rest = rest  # type: ignore[attr-defined]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, keys, values, out, lse, shares = ctx.saved_tensors
        gradient = gradient.contiguous()
        grad_query, grad_key, grad_value = _backward(gradient, query, keys[-1], values[-1], out, lse, ctx.rest)
        # Gradient of a softmax: the gradient of a score is its share times the difference between its value's
        # contribution and the mean.
        helps = (gradient * values[:-1]).sum(-1, dtype=shares.dtype) - (gradient * out).sum(-1, dtype=shares.dtype)
        grad_scores = (shares * helps / math.sqrt(query.shape[-1])).unsqueeze(-1).to(query.dtype)
        grad_query = grad_query + (grad_scores * keys[:-1]).sum(0)
        grad_keys = torch.cat((grad_scores * query, grad_key[None]))
        grad_values = torch.cat((shares.unsqueeze(-1).to(values.dtype) * gradient, grad_value[None]))
        return grad_query, grad_keys, grad_values


def _column_scores(query: Tensor, keys: Tensor) -> Tensor:
    """Scores: (B, H, T, C) and (n, B, H, T, C) -> (n, B, H, T), in float32 or higher precision."""
    exact = torch.promote_types(query.dtype, torch.float32)
    return (query * keys).sum(-1, dtype=exact) / math.sqrt(query.shape[-1])
