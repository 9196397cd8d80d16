"""A codec of the smallest shape with weights nobody trained, and sounds to try it on."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muse_tokenizers.audio.codec import CodecShape, build_model, load_codec, save_codec
from muse_tokenizers.audio.tokenizer import AudioTokenizer
from muse_tokenizers.base import Waveform

SHAPE = CodecShape(filters=4, dimension=16, codebooks=8, bins=64)
RATE, HOP = SHAPE.sample_rate, SHAPE.hop


@cache
def random_model(seed: int = 0) -> Any:
    """With codebooks so far apart that codes do not hang on the last bit of a sum."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(SHAPE)
        for layer in model.quantizer.vq.layers:
            layer._codebook.embed.normal_(std=0.3)
    return model.eval()


def write_codec(folder: Path, seed: int = 0) -> Path:
    save_codec(random_model(seed).state_dict(), SHAPE, folder)
    return folder


def audio_tokenizer(folder: Path, codebooks: int = 4) -> AudioTokenizer:
    """With its codec in a folder, written if it is not there."""
    if not folder.is_dir():
        write_codec(folder)
    return AudioTokenizer(load_codec(folder), codebooks, folder=folder)


def tone(seconds: float, hertz: float = 220.0, rate: int = RATE, level: float = 0.3) -> NDArray[np.float32]:
    """(N,) a tone with a few partials that fades a little, so that no two frames are the same."""
    t = np.arange(round(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 5)) * np.exp(-0.4 * t)
    return (level * sound / 2).astype(np.float32)


def waveform(seconds: float, **how: Any) -> Waveform:
    return Waveform(samples=tone(seconds, **how)[None], sample_rate=how.get("rate", RATE))
