"""Decoders that crash, hang or use memory, as damaged files can cause."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.audio import decoding
from muse_tokenizers.child_process import Answer, serve

__all__ = ["serve_crashing", "serve_growing", "serve_hanging", "serve_once"]


def _instead(do: Callable[[], object]) -> None:
    """Decode, and call this before each block."""

    def blocks(before: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        while True:
            do()
            if (block := next(before, None)) is None:
                return
            yield block

    def answer(request: dict[str, Any], content: bytes) -> Answer:
        answered = decoder.answer(request, content)
        if "open" in request and decoder._sound is not None:
            decoder._sound.blocks = blocks(decoder._sound.blocks)
        return answered

    decoder = decoding._Decoding()
    serve(answer)


def serve_crashing() -> None:
    """Crash at the first block."""
    _instead(lambda: os.kill(os.getpid(), signal.SIGSEGV))


def serve_hanging() -> None:
    """Hang at the first block."""
    _instead(lambda: time.sleep(600))


def serve_once() -> None:
    """Crash at the sixth block."""
    left = iter(range(5))
    _instead(lambda: next(left, None) is None and os.kill(os.getpid(), signal.SIGSEGV))


def serve_growing() -> None:
    """Allocate a gigabyte at the first block."""
    _instead(lambda: bytearray(2**30))
