"""Where to compute, and in which type. Asked for once by a command; nothing is probed at import."""

from __future__ import annotations

import torch

from muse_shortcut.errors import ArgumentsError

__all__ = ["choose_device", "choose_precision"]


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `mps` -> a device that is there.

    Raises:
        ArgumentsError: it is not there, or is called otherwise.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if name not in there:
        raise ArgumentsError(f"--device is {name!r}; allowed: auto, cpu, cuda, mps")
    if not there[name]:
        present = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise ArgumentsError(f"--device {name}: there is none on this machine; allowed here: auto, {present}")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto`, `float32` or `bfloat16` -> a type; auto takes bfloat16 where the chip computes in it, not emulates it."""
    if name == "float32":
        return torch.float32
    if name == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    if device.type == "cpu":
        # AVX-512 alone also has bfloat16 products, and loses with them: 2,640 tokens a second against 4,640 in float32
        # (EXPERIMENTS.md). Only AMX's tiles gain.
        return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32
    return torch.float32
