"""What moves the weights: Muon and AdamW, their learning rate, and their state as plain tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from muse_shortcut.config import TrainConfig
from muse_shortcut.errors import CheckpointError
from muse_shortcut.model.core import Core

__all__ = ["Optimiser", "decay_begins", "learning_rate"]


def learning_rate(step: int, config: TrainConfig, decay_start: int | None = None) -> float:
    """Of step `step`, counted from 1: linear warm-up, then down to the final rate.

    Without `decay_steps` a cosine that ends at the last step; with them the rate stands, then falls in a line.

    Args:
        decay_start: the last step at the full rate, where training has found no more gain; None where it has not, or
            not yet: then it falls in time for `max_steps`.
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
    """The last step at the full rate, where there are `decay_steps`."""
    return config.max_steps - config.decay_steps if decay_start is None else decay_start


class Optimiser:
    """Muon for the matrices between embedding and head, AdamW for the rest; or AdamW for all.

    Muon (Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982) makes each matrix's momentum orthogonal before it is
    added. With the second one's scaling a step is as long as AdamW's.
    """

    def __init__(self, core: Core, config: TrainConfig) -> None:
        self._core, self._config = core, config
        outer = {id(module.weight) for module in [*core.embeddings, *core.heads]}
        embeddings = {id(module.weight) for module in core.embeddings}
        matrices = [p for p in core.parameters() if p.ndim == 2 and id(p) not in outer]
        rest = [p for p in core.parameters() if p.ndim != 2 or id(p) in outer]
        self._matrices: torch.optim.Optimizer | None = None
        # A group's `scale` is how its rate stands to `learning_rate`.
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
        """The parameter groups of both."""
        return [group for optimiser in self._all() for group in optimiser.param_groups]

    def begin(self) -> None:
        """Make the state that both make at their first step, so that a checkpoint of step 0 has it."""
        for parameter in self._core.parameters():
            for key, shape in self._shapes(parameter).items():
                self._state(parameter)[key] = torch.zeros(shape, device=parameter.device)

    def step(self, rate: float) -> None:
        """Move the weights against their gradients."""
        for optimiser in self._all():
            for group in optimiser.param_groups:
                group["lr"] = rate * group.get("scale", 1.0)
            optimiser.step()

    def forget(self) -> None:
        """Drop all gradients."""
        for optimiser in self._all():
            optimiser.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The state by parameter: `NAME/momentum_buffer`, or `NAME/exp_avg`, `NAME/exp_avg_sq` and `NAME/step`."""
        return {
            f"{name}/{key}": value.detach().to("cpu").contiguous()
            for name, parameter in self._core.named_parameters()
            for key, value in self._state(parameter).items()
        }

    def load(self, tensors: dict[str, Tensor], source: str) -> None:
        """Put a state back that `tensors` made.

        Raises:
            CheckpointError: it is of another model or of another optimiser.
        """
        for name, parameter in self._core.named_parameters():
            shapes = self._shapes(parameter)
            state = {key: tensors[f"{name}/{key}"] for key in shapes if f"{name}/{key}" in tensors}
            if {key: value.shape for key, value in state.items()} != shapes:
                raise CheckpointError(f"{source} is damaged: it has no state for {name} {tuple(parameter.shape)}")
            # The step counter stays where AdamW keeps it: on the CPU unless it is fused on a GPU.
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
