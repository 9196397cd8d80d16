"""How far a sound is from another: in samples, in mel spectra at several scales, and in the ear's own decibels."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from muse_tokenizers.audio.measures import mel_filters

__all__ = ["mel_distance", "mel_loss", "si_sdr", "time_loss"]

_SCALES = (32, 64, 128, 256, 512, 1024, 2048)
"""Samples of a window; a quarter of it lies between two."""
_SOFT = 1e-3
_LEAST = 1e-5
"""The softest amplitude that is told from silence: -100 dB."""


def _amplitudes(x: Tensor, window: int) -> Tensor:
    """(B, N) -> (B, window / 2 + 1, frames); a sine of full scale is 1."""
    shape = torch.hann_window(window, device=x.device, dtype=x.dtype)
    spectrum = torch.stft(x, window, window // 4, window, shape, center=True, pad_mode="reflect", return_complex=True)
    # Never the root of 0, whose gradient is infinite.
    power = spectrum.real.square() + spectrum.imag.square() + _LEAST**2
    return power.sqrt() / (shape.sum() / 2)


@cache
def _filters(sample_rate: int, window: int, bands: int, device: str) -> Tensor:
    filters = torch.from_numpy(mel_filters(sample_rate, window, bands)).float()
    # Narrow bands of short windows have no frequency in them.
    return filters[filters.sum(1) > 0].to(device)


def _mel(x: Tensor, sample_rate: int, window: int) -> Tensor:
    return _filters(sample_rate, window, min(64, window // 4), str(x.device)).to(x.dtype) @ _amplitudes(x, window)


def time_loss(sound: Tensor, target: Tensor) -> Tensor:
    """Of (B, N) each: L1 in units of the target's own mean, so that soft sound counts as much as loud."""
    return ((sound - target).abs().mean(-1) / target.abs().mean(-1).clamp_min(_SOFT)).mean()


def mel_loss(sound: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Of (B, N) each: L1 of the amplitudes and L2 of their logarithms to base 10, mean over scales (EnCodec, Eq. 2).

    Amplitudes are in units of their target's mean at that scale, so that soft sound counts as much as loud.
    """
    losses = []
    for window in _SCALES:
        one, other = _mel(sound, sample_rate, window), _mel(target, sample_rate, window)
        # What is softer than -60 dB counts as if it were as loud: one silent clip must not be all that is learned of.
        level = other.mean((1, 2), keepdim=True).clamp_min(_SOFT)
        decades = (one + _LEAST).log10() - (other + _LEAST).log10()
        losses.append(((one - other).abs() / level).mean() + decades.square().mean())
    return torch.stack(losses).mean()


def mel_distance(sound: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """(B,) dB: mean absolute difference of log-mel spectra, 80 bands of windows of 1,024; below -80 dB all is -80."""
    filters = _filters(sample_rate, 1024, 80, str(sound.device)).to(sound.dtype)
    one, other = (20 * (filters @ _amplitudes(x, 1024)).clamp_min(1e-4).log10() for x in (sound, target))
    return (one - other).abs().mean((1, 2))


def si_sdr(sound: Tensor, target: Tensor) -> Tensor:
    """(B,) dB: scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, arXiv 1811.02508)."""
    sound, target = (x - x.mean(-1, keepdim=True) for x in (sound, target))
    scale = (sound * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True).clamp_min(1e-12)
    wanted = scale * target
    noise = F.mse_loss(sound, wanted, reduction="none").sum(-1)
    return 10 * (wanted.square().sum(-1).clamp_min(1e-12) / noise.clamp_min(1e-12)).log10()
