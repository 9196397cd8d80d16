"""Finds and loads the compiled decoding step, and mirrors the structures of step.c.

The library is compiled by hatch_build.py while pip installs, and lies beside step.c.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, c_float, c_int, c_longlong, c_ssize_t, c_void_p
from functools import cache

import torch

from muse_shortcut.native.compiling import library_path

__all__ = [
    "AttentionFields",
    "BlockFields",
    "CacheFields",
    "CoreFields",
    "FeatureFields",
    "FeedForwardFields",
    "NativeStep",
    "NativeStepError",
    "RowsFields",
    "load_step",
    "missing_step",
]

_INSTRUCTION_SETS = {"AVX512": "avx512", "AVX2": "avx2"}
"""The variants of the step by what torch computes with; every library has `any`."""

NativeStep = Callable[..., int]


class NativeStepError(Exception):
    """There is no compiled step; the message says why, in one line."""


class FeedForwardFields(ctypes.Structure):
    _fields_ = (("up", c_void_p), ("down", c_void_p), ("hidden", c_ssize_t))


class AttentionFields(ctypes.Structure):
    _fields_ = (("query", c_void_p), ("key_value", c_void_p), ("output", c_void_p), ("norm", c_ssize_t))


class BlockFields(ctypes.Structure):
    _fields_ = (
        ("attention_norm", c_void_p),
        ("attention", AttentionFields),
        ("feed_forward_norm", c_void_p),
        ("feed_forward", FeedForwardFields),
    )


class FeatureFields(ctypes.Structure):
    _fields_ = (
        ("depth", c_ssize_t),
        ("norm", c_void_p),
        ("linear", c_void_p),
        ("mlp", FeedForwardFields),
        ("keep", c_ssize_t),
    )


class CoreFields(ctypes.Structure):
    _fields_ = (
        *((name, c_ssize_t) for name in ("vocabulary", "streams", "context", "layers", "width", "heads")),
        *((name, c_ssize_t) for name in ("features", "widest")),
        ("embeddings", POINTER(c_void_p)),
        ("head_weights", POINTER(c_void_p)),
        ("blocks", POINTER(BlockFields)),
        ("feature", POINTER(FeatureFields)),
        ("last", BlockFields),
        ("norm", c_void_p),
        ("cos_sin", c_void_p),
    )


class RowsFields(ctypes.Structure):
    _fields_ = (
        ("keys", c_void_p),
        ("values", c_void_p),
        ("batch", c_ssize_t),
        ("capacity", c_ssize_t),
        ("length", c_ssize_t),
    )


class CacheFields(ctypes.Structure):
    _fields_ = tuple((name, RowsFields) for name in ("shared", "own", "shared_taps", "own_taps"))


def missing_step() -> str | None:
    """Return why there is no compiled step, in one line; None if there is one."""
    try:
        load_step()
    except NativeStepError as error:
        return str(error)
    return None


@cache
def load_step() -> tuple[NativeStep, str]:
    """Load the step for this processor.

    Returns:
        The function, and the name of its instruction set. It is chosen as torch chooses its own.

    Raises:
        NativeStepError: It was not compiled, or cannot be loaded here.
    """
    path = library_path()
    if not path.is_file():
        raise NativeStepError("the native step was not compiled when muse-shortcut was installed")
    try:
        library = ctypes.CDLL(str(path))
        kind = _INSTRUCTION_SETS.get(torch.backends.cpu.get_cpu_capability(), "any")
        if not hasattr(library, f"muse_step_{kind}"):
            kind = "any"
        step: NativeStep = library[f"muse_step_{kind}"]
    except (OSError, AttributeError) as error:
        raise NativeStepError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
    step.argtypes = [  # type: ignore[attr-defined]
        POINTER(CoreFields),
        POINTER(CacheFields),
        *(POINTER(kind) for kind in (c_longlong, c_float, c_float, c_float)),
    ]
    step.restype = c_int  # type: ignore[attr-defined]
    return step, kind
