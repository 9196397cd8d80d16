"""Where to compute, and in which type. Asked for once by a command; nothing is probed at import."""

from __future__ import annotations

import torch

from muse_shortcut.errors import OptionError

__all__ = ["choose_device", "choose_precision", "use_decoding_threads"]


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `mps` -> a device that is there.

    Raises:
        OptionError: it is not there, or is called otherwise.
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
    """`auto`, `float32` or `bfloat16` -> a type; auto takes bfloat16 where the chip computes in it, not emulates it."""
    if name == "float32":
        return torch.float32
    if name == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    if device.type == "cpu":
        # AVX-512 alone also has bfloat16 products, and loses with them: 2,640 tokens per second against 4,640 in
        # float32 (EXPERIMENTS.md). Only AMX's tiles gain.
        return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32
    return torch.float32


_THREADED_FROM = 16_000_000
"""Parameters from which a step of decoding is worth more than one thread."""


def use_decoding_threads(parameters: int) -> None:
    """Let torch decode a small core with one thread.

    Two gain a tenth on an idle machine, and lose a hundredfold where another program wants a core: a step has a hundred
    places at which the threads wait for one another (EXPERIMENTS.md).
    """
    if parameters < _THREADED_FROM:
        torch.set_num_threads(1)
