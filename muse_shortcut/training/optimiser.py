"""AdamW, its learning rate, and its state as plain tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from muse_shortcut.config import TrainConfig
from muse_shortcut.errors import CheckpointError
from muse_shortcut.model.core import Core

__all__ = ["learning_rate", "load_optimiser", "make_optimiser", "optimiser_tensors"]


def learning_rate(step: int, config: TrainConfig) -> float:
    """Of step `step`, counted from 1: linear warm-up, then a cosine down to the final rate at the last step."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    span = max(1, config.max_steps - config.warmup_steps)
    place = min(1.0, (step - config.warmup_steps) / span)
    low, high = config.final_learning_rate, config.learning_rate
    return low + (high - low) * 0.5 * (1.0 + math.cos(math.pi * place))


def make_optimiser(core: Core, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves embeddings and vectors alone."""
    embeddings = {id(embedding.weight) for embedding in core.embeddings}
    decayed: list[Tensor] = []
    kept: list[Tensor] = []
    for parameter in core.parameters():
        (decayed if parameter.ndim >= 2 and id(parameter) not in embeddings else kept).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    fused = next(core.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.beta1, config.beta2), fused=fused)


def optimiser_tensors(core: Core, optimiser: torch.optim.AdamW) -> dict[str, Tensor]:
    """The optimiser's state by parameter: `NAME/exp_avg`, `NAME/exp_avg_sq`, `NAME/step`."""
    return {
        f"{name}/{key}": value.detach().to("cpu").contiguous()
        for name, parameter in core.named_parameters()
        for key, value in optimiser.state[parameter].items()
    }


def load_optimiser(core: Core, optimiser: torch.optim.AdamW, tensors: dict[str, Tensor], source: str) -> None:
    """Put a state back that `optimiser_tensors` made.

    Raises:
        CheckpointError: it is of another model.
    """
    for name, parameter in core.named_parameters():
        shapes = {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
        state = {key: tensors[f"{name}/{key}"] for key in shapes if f"{name}/{key}" in tensors}
        if {key: value.shape for key, value in state.items()} != shapes:
            raise CheckpointError(f"{source} is damaged: it has no state for {name} {tuple(parameter.shape)}")
        # The step counter stays where AdamW keeps it: on the CPU unless it is fused on a GPU.
        optimiser.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}
