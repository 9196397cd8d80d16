"""Selects the ids of a window that are scored."""

from __future__ import annotations

from torch import Tensor

__all__ = ["loss_mask"]


def loss_mask(inputs: Tensor, targets: Tensor, pad: int, end: int) -> Tensor:
    """Return which targets carry information, (B, T, K) bool.

    Padding is not scored, nor is an end id that follows the end of its own stream: in the delay pattern, the first
    stream waits at its end for the last one.
    """
    return (targets != pad) & ((targets != end) | (inputs != end))
