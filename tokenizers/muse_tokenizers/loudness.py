"""Measures loudness, and computes the gain that reaches a given loudness.

ITU-R BS.1770-4: integrated loudness with both gates (LUFS), true peak by fourfold oversampling (dBTP).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import pi, tan

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Waveform

__all__ = ["LOUDEST_PEAK", "gain_to", "integrated_loudness", "true_peak"]

LOUDEST_PEAK = -1.0
"""Limit of the true peak in dBTP, so that nothing clips when it is resampled or compressed."""

_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_OFFSET = -0.691
_HOP, _HOPS = 0.1, 4
"""Hop of the gating blocks in seconds, and the length of a block in hops."""
_SETTLED = 2**14
"""Length of the response of the weighting filter in samples: its lowest pole is at 38 Hz."""
_PART = 2**17
"""Samples per block of the weighting filter."""
_OVERSAMPLING, _TAPS = 4, 12


def integrated_loudness(sound: Waveform) -> float:
    """Return the integrated loudness of a sound with one or two channels in LUFS; -inf if no block passes the gates."""
    hop = round(_HOP * sound.sample_rate)
    energies = _hop_energies(sound, hop)
    if len(energies) < _HOPS:
        # A sound shorter than a block counts as one.
        blocks = energies.sum(keepdims=True) / max(1, sound.samples.shape[1])
    else:
        whole = np.concatenate([[0.0], np.cumsum(energies[: sound.samples.shape[1] // hop])])
        blocks = (whole[_HOPS:] - whole[:-_HOPS]) / (_HOPS * hop)
    blocks = blocks[blocks > _energy(_ABSOLUTE_GATE)]
    if not len(blocks):
        return float("-inf")
    kept = blocks[blocks > blocks.mean() * 10 ** (_RELATIVE_GATE / 10)]
    return float(_OFFSET + 10 * np.log10(kept.mean()))


def true_peak(sound: Waveform) -> float:
    """Return the true peak, the largest value at and between the samples, relative to full scale."""
    peak = float(np.abs(sound.samples).max(initial=0.0))
    for channel in sound.samples:
        for start in range(0, len(channel), _PART):
            part = channel[max(0, start - _TAPS) : start + _PART]
            # Silence is added around the sound, but not between parts: an edge would ring.
            part = np.pad(part, (_TAPS * (start == 0), _TAPS * (start + _PART >= len(channel))))
            for phase in _phases():
                peak = max(peak, float(np.abs(np.convolve(part, phase, "valid")).max()))
    return peak


def gain_to(sound: Waveform, loudness: float) -> float:
    """Return the gain that brings a sound to a loudness, reduced if its true peak would exceed `LOUDEST_PEAK`; 1 for
    silence."""
    found = integrated_loudness(sound)
    if found == float("-inf"):
        return 1.0
    return min(10 ** ((loudness - found) / 20), 10 ** (LOUDEST_PEAK / 20) / true_peak(sound))


def _energy(loudness: float) -> float:
    return float(10 ** ((loudness - _OFFSET) / 10))


def _hop_energies(sound: Waveform, hop: int) -> NDArray[np.float64]:
    """Return the sums of squares of the weighted samples over each hop, for all channels together; the last hop may be
    shorter."""
    length = sound.samples.shape[1]
    total = np.zeros(-(-length // hop))
    for channel in sound.samples:
        for start, part in _weighted(channel, sound.sample_rate):
            place = np.arange(start, start + len(part)) // hop
            total += np.bincount(place, part * part, minlength=len(total))
    return total


def _weighted(samples: NDArray[np.float32], rate: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield blocks of a channel after K-weighting, with their positions; each is filtered with the samples before
    it."""
    response = _weighting(rate)
    for start in range(0, len(samples), _PART):
        before = min(start, _SETTLED)
        part = samples[start - before : start + _PART].astype(np.float64)
        spectrum = np.fft.rfft(part, _PART + 2 * _SETTLED) * response
        yield start, np.fft.irfft(spectrum, _PART + 2 * _SETTLED)[before : len(part)]


@cache
def _weighting(rate: int) -> NDArray[np.complex128]:
    """Return the frequency response of the two filters of BS.1770 for one block.

    The recommendation has coefficients for 48 kHz only: these are their analogue prototypes, transformed to any rate.
    """
    z = np.exp(-2j * pi * np.arange((_PART + 2 * _SETTLED) // 2 + 1) / (_PART + 2 * _SETTLED))
    k, q = tan(pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    registry = (high + band * k / q + k * k) + 2 * (k * k - high) * z + (high - band * k / q + k * k) * z * z
    registry /= (1 + k / q + k * k) + 2 * (k * k - 1) * z + (1 - k / q + k * k) * z * z
    k, q = tan(pi * 38.13547087602444 / rate), 0.5003270373238773
    unity = 1 + k / q + k * k
    rumble = (1 - z) ** 2 / (1 + (2 * (k * k - 1) * z + (1 - k / q + k * k) * z * z) / unity)
    return np.asarray(registry * rumble)


@cache
def _phases() -> tuple[NDArray[np.float32], ...]:
    """Return interpolation filters for a quarter, a half and three quarters of a sample."""
    length = _OVERSAMPLING * _TAPS
    place = np.arange(length + 1) - length / 2
    sinc = np.sinc(place / _OVERSAMPLING) * np.hanning(length + 3)[1:-1]
    phases = (sinc[phase::_OVERSAMPLING] for phase in range(1, _OVERSAMPLING))
    return tuple((taps / taps.sum()).astype(np.float32) for taps in phases)
