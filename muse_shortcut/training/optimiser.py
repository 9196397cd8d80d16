"""Optimisers: Muon and AdamW, the learning-rate schedule, and their state as plain tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from muse_shortcut.config import TrainConfig
from muse_shortcut.errors import CheckpointError
from muse_shortcut.model.core import Core

__all__ = ["Optimiser", "decay_begins", "learning_rate"]


def learning_rate(step: int, config: TrainConfig, decay_start: int | None = None) -> float:
    """Return the learning rate of step `step`, counted from 1: linear warm-up, then a decay to the final rate.

    Without `decay_steps` the decay is a cosine that ends at the last step. With them the rate is constant, then decays
    linearly.

    Args:
        decay_start: Last step at the full rate, if patience has run out; None if it has not, so that the decay ends at
            `max_steps`.
    """
    low, high = config.final_learning_rate, config.learning_rate
    if step <= config.warmup_steps:
        return high * step / config.warmup_steps
    if config.decay_steps:
        start = decay_begins(config, decay_start)
        return high + (low - high) * min(1.0, max(0.0, (step - start) / config.decay_steps))
    span = max(1, config.max_steps - config.warmup_steps)
    place = min(1.0, (step - config.warmup_steps) / span)
    return low + (high - low) * 0.5 * (1.0 + math.cos(math.pi * place))


def decay_begins(config: TrainConfig, decay_start: int | None) -> int:
    """Return the last step at the full rate, if `decay_steps` is set."""
    return config.max_steps - config.decay_steps if decay_start is None else decay_start


class Optimiser:
    """Muon for the matrices between embedding and head and AdamW for the rest, or AdamW for all parameters.

    Muon (Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982) orthogonalises the momentum of each matrix. With the
    scaling of the second paper its updates are as large as AdamW's.
    """

    def __init__(self, core: Core, config: TrainConfig) -> None:
        self._core, self._config = core, config
        outer = {id(module.weight) for module in [*core.embeddings, *core.heads]}
        embeddings = {id(module.weight) for module in core.embeddings}
        matrices = [p for p in core.parameters() if p.ndim == 2 and id(p) not in outer]
        rest = [p for p in core.parameters() if p.ndim != 2 or id(p) in outer]
        self._matrices: torch.optim.Optimizer | None = None
        # The `scale` of a group is the ratio of its rate to `learning_rate`.
        if config.optimiser == "muon":
            self._matrices = torch.optim.Muon(
                matrices, lr=0.0, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
            )
            scale = config.embedding_learning_rate / config.learning_rate
            groups = [{"params": rest, "weight_decay": 0.0, "scale": scale}]
        else:
            decayed = [*matrices, *(p for p in rest if p.ndim >= 2 and id(p) not in embeddings)]
            kept = [p for p in rest if p.ndim < 2 or id(p) in embeddings]
            groups = [
                {"params": decayed, "weight_decay": config.weight_decay, "scale": 1.0},
                {"params": kept, "weight_decay": 0.0, "scale": 1.0},
            ]
        fused = next(core.parameters()).device.type in ("cpu", "cuda")
        self._rest = torch.optim.AdamW(groups, lr=0.0, betas=(config.beta1, config.beta2), fused=fused)

    def _all(self) -> list[torch.optim.Optimizer]:
        return [self._rest] if self._matrices is None else [self._matrices, self._rest]

    @property
    def groups(self) -> list[dict[str, object]]:
        """Parameter groups of both optimisers."""
        return [group for optimiser in self._all() for group in optimiser.param_groups]

    def begin(self) -> None:
        """Create the state that both optimisers create at their first step, so that the checkpoint of step 0 contains
        it."""
        for parameter in self._core.parameters():
            for key, shape in self._shapes(parameter).items():
                self._state(parameter)[key] = torch.zeros(shape, device=parameter.device)

    def step(self, rate: float) -> None:
        """Update the weights."""
        for optimiser in self._all():
            for group in optimiser.param_groups:
                group["lr"] = rate * group.get("scale", 1.0)
            optimiser.step()

    def forget(self) -> None:
        """Delete all gradients."""
        for optimiser in self._all():
            optimiser.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by parameter: `NAME/momentum_buffer`, or `NAME/exp_avg`, `NAME/exp_avg_sq` and
        `NAME/step`."""
        return {
            f"{name}/{key}": value.detach().to("cpu").contiguous()
            for name, parameter in self._core.named_parameters()
            for key, value in self._state(parameter).items()
        }

    def load(self, tensors: dict[str, Tensor], source: str) -> None:
        """Load a state from `tensors`.

        Raises:
            CheckpointError: The state belongs to another model or optimiser.
        """
        for name, parameter in self._core.named_parameters():
            shapes = self._shapes(parameter)
            state = {key: tensors[f"{name}/{key}"] for key in shapes if f"{name}/{key}" in tensors}
            if {key: value.shape for key, value in state.items()} != shapes:
                raise CheckpointError(f"{source} is damaged: it has no state for {name} {tuple(parameter.shape)}")
            # AdamW keeps the step counter on the CPU unless it is fused on a GPU.
            self._state(parameter).update({key: value.to(parameter.device) for key, value in state.items()})

    def _is_muons(self, parameter: nn.Parameter) -> bool:
        return self._matrices is not None and any(
            parameter is other for group in self._matrices.param_groups for other in group["params"]
        )

    def _state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        optimiser = self._matrices if self._matrices is not None and self._is_muons(parameter) else self._rest
        state: dict[str, Tensor] = optimiser.state[parameter]
        return state

    def _shapes(self, parameter: nn.Parameter) -> dict[str, torch.Size]:
        if self._is_muons(parameter):
            return {"momentum_buffer": parameter.shape}
        return {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
