"""A last layer from outside: an `nn.Module` that is registered by a name, and what makes it work in a core.

    class Mean(nn.Module):
        def __init__(self, config): ...
        def forward(self, h, depths, hidden=None): ...

    register_last_layer("mean", Mean)
    core = Core(ModelConfig(..., last_layer="mean"))

The module reads whole sequences. While a core generates, what the module reads is cached and the module is run over all
of it at each step, so that it needs to know nothing of caches; a step costs as much as the module over the context.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from muse_shortcut.config import ModelConfig
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.model.blocks import Memory
from muse_shortcut.model.cache import Cache

__all__ = ["OwnLast", "register_last_layer"]

_registered: dict[str, Callable[[ModelConfig], nn.Module]] = {}


def register_last_layer(name: str, make: Callable[[ModelConfig], nn.Module]) -> None:
    """Make a last layer of one's own known by a name, for `ModelConfig.last_layer`.

    Whoever loads a checkpoint with it registers it first: files name it, and hold no code.

    The module's `forward(h, depths, hidden=None)` takes

    - `h`, (B, T, D): the output of the layer below, which is the residual stream;
    - `depths`, (B, n, T, D): the outputs of the depths in `ModelConfig.depths`, as they came out of their layers;
    - `hidden`, (B, n, T) bool or None: True where a source must not be attended to (ablations). All of them may be
      hidden, and attention then adds nothing;

    and returns `(out, weights)`: (B, T, D), of which position t depends on positions up to t alone; and the last
    position's attention (B, H, n, T), not negative, which sums to 1 over (n, T) where something is not hidden, H being
    `ModelConfig.heads`. Positions count from 0. It initialises its own parameters.

    Args:
        name: letters, digits and `_`; registering another one of the same name replaces it.
        make: the module's class, or whatever makes the module of a shape.

    Raises:
        ArgumentsError: the name is impossible.
    """
    if not name.isidentifier():
        raise ArgumentsError(f"last_layer is {name!r}; allowed: a name of letters, digits and _")
    _registered[name] = make


class OwnLast(nn.Module):
    """The last layer of a core, made by somebody else's class."""

    def __init__(self, config: ModelConfig) -> None:
        """Raises ArgumentsError: no such last layer is registered."""
        super().__init__()
        name = config.last_layer
        if name not in _registered:
            known = ", ".join(_registered) or "none is"
            raise ArgumentsError(
                f"last_layer is {name!r}; registered: {known}. muse_shortcut.register_last_layer makes one known"
            )
        self.heads, self.name = config.heads, name
        self.module = _registered[name](config)

    def forward(
        self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, cache: Cache | None, below: Memory
    ) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> (B, T, D), and for one cached position the weights (B, H, n, T), else an empty tensor."""
        stacked = torch.stack(depths)
        if cache is None:
            return self._run(h, stacked, None)[0], h.new_empty(0)
        # What it reads, in the shape of keys and values; h in the place of the first depth's values.
        keys = self._split(stacked)
        values = torch.zeros_like(keys)
        values[0] = self._split(h)
        held = cache.put_taps(keys, values)
        if h.shape[1] > 1:
            return self._run(h, stacked, None)[0], h.new_empty(0)
        all_keys, all_values = held
        out, weights = self._run(self._merge(all_values[0]), self._merge(all_keys), None)
        return out[:, -1:], weights.float()

    def forward_without(
        self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, below: Memory, hidden: set[int]
    ) -> Tensor:
        """(B, T, D) -> (B, T, D) where some depths, by number, are not seen."""
        mask = torch.zeros(len(h), len(depths), h.shape[1], dtype=torch.bool, device=h.device)
        mask[:, sorted(hidden)] = True
        return self._run(h, torch.stack(depths), mask)[0]

    def ablate(
        self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, below: Memory, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The last position of (1, T, D) with sources (M, n, T) hidden -> (M, 1, D) and weights (M, H, n, T)."""
        count = len(hidden)
        stacked = torch.stack(depths).expand(-1, count, -1, -1)
        out, weights = self._run(h.expand(count, -1, -1), stacked, hidden)
        return out[:, -1:], weights.float()

    def _run(self, h: Tensor, depths: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, D), (n, B, T, D) and (B, n, T) through the module, whose answer is checked."""
        out, weights = self.module(h, depths.transpose(0, 1), hidden)
        wanted = (len(h), self.heads, len(depths), h.shape[1])
        if out.shape != h.shape or weights.shape != wanted:
            raise ArgumentsError(
                f"the last layer {self.name!r} gave {tuple(out.shape)} and weights {tuple(weights.shape)}; "
                f"wanted: {tuple(h.shape)} and {wanted}"
            )
        return out, weights

    def _split(self, x: Tensor) -> Tensor:
        """(..., T, D) -> (..., H, T, C)."""
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-2, -3)

    def _merge(self, x: Tensor) -> Tensor:
        """(..., H, T, C) -> (..., T, D)."""
        return x.transpose(-2, -3).flatten(-2)
