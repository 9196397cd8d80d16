"""Where a codec's training starts: with weights that carry sound through all layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["start_at_unit_variance"]


@torch.no_grad()
def start_at_unit_variance(model: Any, clips: Tensor) -> None:
    """Scale every convolution so that what comes out of it varies by 1, and what comes out of the last as the sound.

    With torch's own start each convolution makes its input weaker, and after the twenty of a codec nothing of a sound
    is left beside the biases: hundreds of steps then go by before anything is learned. Mishkin and Matas 2016, arXiv
    1511.06422 (LSUV), without its orthogonal matrices.

    Args:
        model: an `encodec.EncodecModel` with weight norms.
        clips: (B, N), sound to scale by.
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
