"""Chooses what computes the cached steps of a generation: the native step, or torch."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from muse_shortcut.config import ModelConfig
from muse_shortcut.errors import OptionError
from muse_shortcut.model.cache import Cache
from muse_shortcut.model.core import Core, StepOutput
from muse_shortcut.native.decoding import NativeCore, unsupported
from muse_shortcut.native.library import missing_step

__all__ = ["Decoder", "choose_decoder", "native_problem"]


class Decoder(Protocol):
    """What a generation needs of a core."""

    @property
    def config(self) -> ModelConfig: ...

    def make_cache(self, batch: int) -> Cache: ...

    def prefill(self, ids: Tensor, cache: Cache) -> None: ...

    def step(self, ids: Tensor, cache: Cache) -> StepOutput: ...


def native_problem(core: Core) -> str | None:
    """Return why the native step cannot decode this core here; None if it can."""
    found = unsupported(core)
    if found is not None:
        return f"the native step does not compute {found}"
    return missing_step()


def choose_decoder(core: Core, engine: str) -> tuple[str, Decoder]:
    """Return the engine, `native` or `torch`, and the core that it computes.

    Args:
        core: The core.
        engine: `native` or `torch`, or `auto` for native where it can decode this core, torch otherwise.

    Raises:
        OptionError: `native` cannot decode this core here.
    """
    if engine == "torch":
        return "torch", core
    problem = native_problem(core)
    if problem is None:
        return "native", NativeCore(core)
    if engine == "native":
        raise OptionError("engine", engine, f"auto or torch, for {problem}")
    return "torch", core
