"""Custom last layers: an `nn.Module` registered under a name, and an adapter that makes it work in a core.

    class Mean(nn.Module):
        def __init__(self, config): ...
        def forward(self, h, depths, hidden=None): ...

    register_last_layer("mean", Mean)
    core = Core(ModelConfig(..., last_layer="mean"))

The module processes whole sequences. During generation the adapter caches the inputs of the module and runs it over all
of them at each step, so that the module needs no cache; a step costs as much as the module on the whole context.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from muse_shortcut.config import ModelConfig
from muse_shortcut.errors import ArgumentsError, PluginError
from muse_shortcut.model.blocks import Memory
from muse_shortcut.model.cache import Cache
from muse_tokenizers.plugins import LAST_LAYERS, load_plugin

__all__ = ["OwnLast", "register_last_layer"]

_registered: dict[str, Callable[[ModelConfig], nn.Module]] = {}


def register_last_layer(name: str, make: Callable[[ModelConfig], nn.Module]) -> None:
    """Register a custom last layer under a name, for `ModelConfig.last_layer`.

    It must be registered before a checkpoint with it is loaded: checkpoints contain its name, and no code.

    The module's `forward(h, depths, hidden=None)` takes

    - `h`, (B, T, D): the output of the layer below, which is the residual stream;
    - `depths`, (B, n, T, D): the outputs of the depths in `ModelConfig.depths`, before any mixing;
    - `hidden`, (B, n, T) bool or None: true where a source must not be attended to (ablations). All of them may be
      hidden, and attention then adds nothing;

    and returns `(out, weights)`: out (B, T, D), whose position t depends only on positions up to t; and the attention
    of the last position (B, H, n, T), non-negative and summing to 1 over (n, T) unless everything is hidden, where H is
    `ModelConfig.heads`. Positions count from 0. The module initialises its own parameters.

    Args:
        name: Letters, digits and `_`; an existing layer of the same name is replaced.
        make: The class of the module, or a function that builds it from a configuration.

    Raises:
        ArgumentsError: The name is invalid.
    """
    if not name.isidentifier():
        raise ArgumentsError(f"last_layer is {name!r}; allowed: a name of letters, digits and _")
    _registered[name] = make


class OwnLast(nn.Module):
    """Adapts a custom module as the last layer of a core."""

    def __init__(self, config: ModelConfig) -> None:
        """Raises ArgumentsError if no last layer of this name is registered."""
        super().__init__()
        name = config.last_layer or ""
        plugin = "" if name in _registered else load_plugin(LAST_LAYERS, name)
        if plugin and name not in _registered:
            raise PluginError(f"{plugin} does not register that last layer when it is imported")
        if name not in _registered:
            known = ", ".join(_registered) or "none is"
            raise ArgumentsError(
                f"last_layer is {name!r}; registered: {known}. muse_shortcut.register_last_layer makes one known, "
                "and so does its package if it is installed"
            )
        self.heads, self.name = config.heads, name
        self.module = _registered[name](config)

    def forward(
        self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, cache: Cache | None, below: Memory
    ) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> (B, T, D), and the weights (B, H, n, T) of one cached position, otherwise an empty tensor."""
        stacked = torch.stack(depths)
        if cache is None:
            return self._run(h, stacked, None)[0], h.new_empty(0)
        # The inputs are cached in the shape of keys and values, with h as the values of the first depth.
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
        """(B, T, D) -> (B, T, D) with some depths hidden, by number."""
        mask = torch.zeros(len(h), len(depths), h.shape[1], dtype=torch.bool, device=h.device)
        mask[:, sorted(hidden)] = True
        return self._run(h, torch.stack(depths), mask)[0]

    def ablate(
        self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, below: Memory, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the last position of (1, T, D) with sources (M, n, T) hidden -> (M, 1, D) and weights (M, H, n,
        T)."""
        count = len(hidden)
        stacked = torch.stack(depths).expand(-1, count, -1, -1)
        out, weights = self._run(h.expand(count, -1, -1), stacked, hidden)
        return out[:, -1:], weights.float()

    def _run(self, h: Tensor, depths: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run the module on (B, T, D), (n, B, T, D) and (B, n, T), and check its output."""
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
