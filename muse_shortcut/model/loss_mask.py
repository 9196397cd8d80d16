"""Which ids of a window a model is asked for."""

from __future__ import annotations

from torch import Tensor

__all__ = ["loss_mask"]


def loss_mask(inputs: Tensor, targets: Tensor, pad: int, end: int) -> Tensor:
    """(B, T, K) bool: of the ids that follow others, each those of its place, the ones that say something.

    Padding says nothing, nor does an end that follows the end of its own stream: with the delay pattern the first
    stream waits at its end for the last one.
    """
    return (targets != pad) & ((targets != end) | (inputs != end))
