"""Metrics of a codec on held-out sound, with controls that need no codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muse_shortcut.codec.losses import mel_distance, si_sdr
from muse_tokenizers.audio.codec import Codec

__all__ = ["CodecMetrics", "low_passed", "measure_codec", "measure_controls"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecMetrics:
    """Metrics of one way to reconstruct sound, averaged over several sounds."""

    name: str
    mel_distance: float
    """dB."""
    si_sdr: float
    """dB."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_codec(codec: Codec, sounds: Sequence[NDArray[np.float32]]) -> tuple[list[CodecMetrics], list[float]]:
    """Measure a codec with 1, 2, 4 and 8 codebooks.

    Args:
        codec: The codec, on the CPU.
        sounds: Sounds, (N,) float32 each, at the sample rate of the codec.

    Returns:
        The metrics, and the entropy of the codes of each codebook in bits (at most log2 of the codebook's size).
    """
    rate, books = codec.shape.sample_rate, codec.shape.codebook_counts
    targets, codes = _encoded(codec, sounds)
    found = [
        _metrics(f"{count} codebooks", [codec.decode(one[:, :count]) for one in codes], targets, rate)
        for count in books
    ]
    every = np.concatenate(codes)
    return found, [_entropy(every[:, book], codec.shape.bins) for book in range(books[-1])]


def measure_controls(
    codec: Codec, sounds: Sequence[NDArray[np.float32]], distance: float, seed: int = 0
) -> list[CodecMetrics]:
    """Measure controls for a codec: the codes of each sound with their frames shuffled; random codes; and the sound
    itself, low-passed until it has a given mel distance, for example that of the codec with all codebooks."""
    random, rate = np.random.default_rng(seed), codec.shape.sample_rate
    targets, codes = _encoded(codec, sounds)
    shuffled = [codec.decode(random.permutation(one)) for one in codes]
    drawn = [codec.decode(random.integers(codec.shape.bins, size=one.shape)) for one in codes]
    return [
        _metrics("codes shuffled in time", shuffled, targets, rate),
        _metrics("random codes", drawn, targets, rate),
        _low_pass_to(distance, targets, rate),
    ]


def _encoded(
    codec: Codec, sounds: Sequence[NDArray[np.float32]]
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]:
    """Return each sound cut to whole frames, and its codes in all codebooks of the target bandwidths."""
    targets = [sound[: len(sound) // codec.shape.hop * codec.shape.hop] for sound in sounds]
    return targets, [codec.encode(target, codec.shape.codebook_counts[-1]) for target in targets]


def _metrics(
    name: str, made: Sequence[NDArray[np.float32]], targets: Sequence[NDArray[np.float32]], rate: int
) -> CodecMetrics:
    pairs = [
        (torch.from_numpy(np.ascontiguousarray(one))[None], torch.from_numpy(np.ascontiguousarray(target))[None])
        for one, target in zip(made, targets, strict=True)
    ]
    with torch.inference_mode():
        mel = float(np.mean([mel_distance(one, target, rate).item() for one, target in pairs]))
        ratio = float(np.mean([si_sdr(one, target).item() for one, target in pairs]))
    return CodecMetrics(name=name, mel_distance=mel, si_sdr=ratio)


def low_passed(sound: NDArray[np.float32], hertz: float, rate: int) -> NDArray[np.float32]:
    """Remove all frequencies above a limit."""
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / rate) > hertz] = 0
    return np.fft.irfft(spectrum, len(sound)).astype(np.float32)


def _low_pass_to(distance: float, targets: Sequence[NDArray[np.float32]], rate: int) -> CodecMetrics:
    """Measure the low-pass whose mel distance is nearest to `distance`; distances fall as the cutoff rises."""
    low, high = 100.0, rate / 2
    for _ in range(10):
        middle = (low * high) ** 0.5
        found = _metrics("", [low_passed(target, middle, rate) for target in targets], targets, rate)
        low, high = (middle, high) if found.mel_distance > distance else (low, middle)
    hertz = (low * high) ** 0.5
    made = [low_passed(target, hertz, rate) for target in targets]
    return _metrics(f"low-passed at {hertz:,.0f} Hz", made, targets, rate)


def _entropy(codes: NDArray[np.int64], bins: int) -> float:
    shares = np.bincount(codes, minlength=bins) / max(1, len(codes))
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())
