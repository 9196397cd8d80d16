"""Initialises a codec so that the signal passes through all layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["start_at_unit_variance"]


@torch.no_grad()
def start_at_unit_variance(model: Any, clips: Tensor) -> None:
    """Scale every convolution so that its output has unit variance, and the last one so that its output has the
    variance of the sound.

    With torch's default initialisation each convolution attenuates its input, and after the twenty of a codec the
    signal is lost beside the biases: hundreds of steps then pass before anything is learned. Layer-sequential unit
    variance (LSUV), Mishkin and Matas 2016, arXiv 1511.06422, without its orthogonal matrices.

    Args:
        model: An `encodec.EncodecModel` with weight normalisation.
        clips: (B, N) sound from which the scales are computed.
    """
    handles = []

    def rescale(module: Any, _: Any, out: Tensor) -> Tensor:
        spread = out.std().clamp_min(1e-8)
        module.weight_g /= spread
        return out / spread

    for module in model.modules():
        if hasattr(module, "weight_g"):
            torch.nn.init.zeros_(module.bias)
            handles.append(module.register_forward_hook(rescale))
    try:
        model.decoder(model.encoder(clips[:, None]))
    finally:
        for handle in handles:
            handle.remove()
    last = [module for module in model.decoder.modules() if hasattr(module, "weight_g")][-1]
    last.weight_g *= clips.std()
