"""Reconstruction losses and metrics: of samples, of mel spectra at several scales, and SI-SDR."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from muse_tokenizers.audio.measures import mel_filters

__all__ = ["mel_distance", "mel_loss", "si_sdr", "time_loss"]

_SCALES = (32, 64, 128, 256, 512, 1024, 2048)
"""Window lengths in samples; the hop is a quarter of the window."""
_SOFT = 1e-3
_LEAST = 1e-5
"""Smallest amplitude that is distinguished from silence: -100 dB."""


def _amplitudes(x: Tensor, window: int) -> Tensor:
    """Magnitude spectra: (B, N) -> (B, window / 2 + 1, frames); a full-scale sine has magnitude 1."""
    shape = torch.hann_window(window, device=x.device, dtype=x.dtype)
    spectrum = torch.stft(x, window, window // 4, window, shape, center=True, pad_mode="reflect", return_complex=True)
    # Avoids the square root of 0, whose gradient is infinite.
    power = spectrum.real.square() + spectrum.imag.square() + _LEAST**2
    return power.sqrt() / (shape.sum() / 2)


@cache
def _filters(sample_rate: int, window: int, bands: int, device: str) -> Tensor:
    filters = torch.from_numpy(mel_filters(sample_rate, window, bands)).float()
    # Narrow bands of short windows contain no frequency.
    return filters[filters.sum(1) > 0].to(device)


def _mel(x: Tensor, sample_rate: int, window: int) -> Tensor:
    return _filters(sample_rate, window, min(64, window // 4), str(x.device)).to(x.dtype) @ _amplitudes(x, window)


def time_loss(sound: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of (B, N) signals, relative to the mean of the target so that soft sound counts as much
    as loud."""
    return ((sound - target).abs().mean(-1) / target.abs().mean(-1).clamp_min(_SOFT)).mean()


def mel_loss(sound: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mel loss of (B, N) signals: L1 of the magnitudes and L2 of their base-10 logarithms, averaged over scales
    (EnCodec, Eq. 2).

    Magnitudes are relative to the mean of the target at that scale, so that soft sound counts as much as loud.
    """
    losses = []
    for window in _SCALES:
        one, other = _mel(sound, sample_rate, window), _mel(target, sample_rate, window)
        # Magnitudes are clamped at -60 dB: otherwise one silent clip would dominate the loss.
        level = other.mean((1, 2), keepdim=True).clamp_min(_SOFT)
        decades = (one + _LEAST).log10() - (other + _LEAST).log10()
        losses.append(((one - other).abs() / level).mean() + decades.square().mean())
    return torch.stack(losses).mean()


def mel_distance(sound: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mel distance in dB, (B,): mean absolute difference of log-mel spectra with 80 bands and windows of 1,024 samples,
    clamped at -80 dB."""
    filters = _filters(sample_rate, 1024, 80, str(sound.device)).to(sound.dtype)
    one, other = (20 * (filters @ _amplitudes(x, 1024)).clamp_min(1e-4).log10() for x in (sound, target))
    return (one - other).abs().mean((1, 2))


def si_sdr(sound: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, (B,) (Le Roux et al. 2019, arXiv 1811.02508)."""
    sound, target = (x - x.mean(-1, keepdim=True) for x in (sound, target))
    scale = (sound * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True).clamp_min(1e-12)
    wanted = scale * target
    noise = F.mse_loss(sound, wanted, reduction="none").sum(-1)
    return 10 * (wanted.square().sum(-1).clamp_min(1e-12) / noise.clamp_min(1e-12)).log10()
