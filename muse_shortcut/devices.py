"""Chooses the device and the precision. Called by commands; nothing is probed at import."""

from __future__ import annotations

import torch

from muse_shortcut.errors import OptionError

__all__ = ["choose_device", "choose_precision", "use_decoding_threads"]


def choose_device(name: str) -> torch.device:
    """Return the device of a name: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        OptionError: The device is not available, or the name is unknown.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if name not in there:
        raise OptionError("device", name, "auto, cpu, cuda, mps")
    if not there[name]:
        present = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise OptionError("device", name, f"auto, {present}, the ones of this machine")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of `auto`, `float32` or `bfloat16`; auto chooses bfloat16 if the hardware computes in it
    natively."""
    if name == "float32":
        return torch.float32
    if name == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    if device.type == "cpu":
        # AVX-512 has bfloat16 products too, but is slower with them: 2,640 tokens per second against 4,640 in float32
        # (EXPERIMENTS.md). Only AMX tiles are faster.
        return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32
    return torch.float32


_THREADED_FROM = 16_000_000
"""Number of parameters from which decoding gains from more than one thread."""


def use_decoding_threads(parameters: int) -> None:
    """Make torch decode a small model with one thread.

    Two threads gain 10 % on an idle machine, and are 100 times slower when another program uses a core: a step has a
    hundred points at which the threads wait for each other (EXPERIMENTS.md).
    """
    if parameters < _THREADED_FROM:
        torch.set_num_threads(1)
