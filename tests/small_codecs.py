"""A small untrained codec, and sounds to test it with."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from muse_shortcut.codec.sounds import gather_sounds
from muse_shortcut.data.recipe import GroupBy
from muse_shortcut.data.scan import scan_files
from muse_tokenizers.audio.codec import build_model, load_codec, save_codec
from muse_tokenizers.audio.codec_shape import CodecShape
from muse_tokenizers.audio.domain import AudioDomain
from muse_tokenizers.audio.tokenizer import AudioTokenizer
from muse_tokenizers.audio.waveforms import SUFFIXES
from muse_tokenizers.base import Waveform

SHAPE = CodecShape(filters=4, dimension=16, codebooks=8, bins=64)
RATE, HOP = SHAPE.sample_rate, SHAPE.hop


@cache
def random_model(seed: int = 0) -> Any:
    """Return a codec with codebooks from its encoding of a sound, so that different sounds have different codes."""
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        model = build_model(SHAPE).eval()
        sound = torch.from_numpy(tone(8.0)) * torch.linspace(0.2, 2, round(8.0 * RATE)) + 0.05 * torch.randn(8 * RATE)
        left = model.encoder(sound[None, None])
        # No layer's codes lie so near to one another that the last bit of a sum decides.
        apart = 0.5 * left.std()
        for layer in model.quantizer.vq.layers:
            vectors = left[0].T
            chosen = vectors[torch.randperm(len(vectors))[: SHAPE.bins]]
            layer._codebook.embed.copy_(chosen + apart * torch.randn(chosen.shape))
            left = left - layer.decode(layer.encode(left))
    return model


def write_codec(folder: Path, seed: int = 0) -> Path:
    save_codec(random_model(seed).state_dict(), SHAPE, folder)
    return folder


def audio_domain(folder: Path, codebooks: int = 4) -> AudioDomain:
    """Return the domain with its codec in a folder, which is written if necessary."""
    if not folder.is_dir():
        write_codec(folder)
    return AudioDomain(AudioTokenizer(load_codec(folder), codebooks))


def tone(seconds: float, hertz: float = 220.0, rate: int = RATE, level: float = 0.3) -> NDArray[np.float32]:
    """Return (N,) a tone with a few partials that decays slightly, so that all frames differ."""
    t = np.arange(round(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 5)) * np.exp(-0.4 * t)
    return (level * sound / 2).astype(np.float32)


def waveform(seconds: float, **how: Any) -> Waveform:
    return Waveform(samples=tone(seconds, **how)[None], sample_rate=how.get("rate", RATE))


def write_music(folder: Path) -> Path:
    """Write six tones, a short one, a file that is not sound, and a text file."""
    for number in range(6):
        soundfile.write(folder / f"{number}.flac", tone(1.5, hertz=150.0 + 60 * number), RATE)
    soundfile.write(folder / "tiny.wav", tone(0.1), RATE)
    (folder / "broken.wav").write_text("no sound")
    (folder / "letter.txt").write_text("no sound either")
    return folder


def gather(folder: Path, out: Path, group_by: GroupBy | None = None) -> list[str]:
    sources = [scan_files(folder, None, SUFFIXES, group_by)]
    return gather_sounds(sources, out, RATE, seed=0, held_out=0.2, made_of={"folder": "music"})
