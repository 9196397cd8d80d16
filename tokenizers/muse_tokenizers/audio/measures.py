"""Measures of a segment of sound: level, silence, bandwidth, flatness, and the distribution of energy over pitch.

`longest_silence` means the same in every domain; the others exist only for sound. All are computed from spectra of
2,048 samples (Hann) with a hop of 512.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Waveform
from muse_tokenizers.measures import Histogram, Measure, Number

__all__ = ["log_mel", "longest_silence", "measure_sound", "mel_filters"]

_WINDOW, _HOP = 2048, 512
_BANDS = 40
_SILENT_DB = -60.0
"""Level in dB below full scale under which a window is silent."""
_LEAST = 1e-10
"""Added to powers before taking a logarithm: -100 dB."""
_FRAMES = 1024
"""Number of frames per block."""


@cache
def mel_filters(sample_rate: int, window: int, bands: int) -> NDArray[np.float64]:
    """Return triangular mel filters of height 1, (bands, window / 2 + 1) (O'Shaughnessy's scale: 2595 log10(1 + f /
    700))."""
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = np.linspace(0, sample_rate / 2, window // 2 + 1)
    rise = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    filters: NDArray[np.float64] = np.maximum(0.0, np.minimum(rise, fall))
    return filters


def _powers(samples: NDArray[np.float32], window: int, hop: int) -> NDArray[np.float64]:
    """Return the power of each frequency, (frames, window / 2 + 1), which is 1 for a full-scale sine; shorter sound is
    padded."""
    if len(samples) < window:
        samples = np.pad(samples, (0, window - len(samples)))
    shape = np.hanning(window)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    power: NDArray[np.float64] = np.abs(np.fft.rfft(frames * shape)) ** 2 / (shape.sum() / 2) ** 2
    return power


def log_mel(waveform: Waveform, bands: int = 80, hop: int = _HOP, window: int = _WINDOW) -> NDArray[np.float32]:
    """Return the log-mel spectrogram, (frames, bands), in dB relative to a full-scale sine, at least -100."""
    samples, filters = waveform.samples[0], mel_filters(waveform.sample_rate, window, bands).T
    frames = max(0, len(samples) - window) // hop + 1
    # In blocks: all powers of an hour would take gigabytes.
    return np.concatenate(
        [
            10
            * np.log10(_powers(samples[at * hop : (at + _FRAMES - 1) * hop + window], window, hop) @ filters + _LEAST)
            for at in range(0, frames, _FRAMES)
        ]
    ).astype(np.float32)


def measure_sound(waveform: Waveform, start: float, end: float) -> dict[str, Measure]:
    """Of the segment [start, end) in seconds; what has no meaning in silence is left out there.

    level: decibels below full scale, of the root mean square.
    longest_silence: seconds. Windows softer than -60 dB one after another; what is missing at the end is silent.
    bandwidth: kHz, below which 95 % of the energy lies.
    flatness: geometric over arithmetic mean of each window's power, averaged over the windows that sound (Johnston
        1988): near 0 for tones, 0.56 for white noise.
    mel_energy: share of the energy in each of 40 mel bands.
    """
    rate = waveform.sample_rate
    samples = _segment(waveform, start, end)
    level = 10 * np.log10(float(np.mean(samples.astype(np.float64) ** 2)) + _LEAST) if len(samples) else -100.0
    silent = _silent(samples)
    measures: dict[str, Measure] = {
        "level": Number(value=level, unit="dB"),
        "longest_silence": Number(value=_longest(silent)[1] * _HOP / rate, unit="s"),
    }
    if silent.all():
        return measures
    power = _powers(samples, _WINDOW, _HOP)
    sounding = power[power.sum(1) > 10 ** (_SILENT_DB / 10)]
    power = sounding if len(sounding) else power
    total = power.sum(0)
    frequencies = np.linspace(0, rate / 2, power.shape[1])
    below = np.searchsorted(np.cumsum(total), 0.95 * total.sum())
    flatness = np.exp(np.log(power + _LEAST**2).mean(1)) / power.mean(1)
    energy = mel_filters(rate, _WINDOW, _BANDS) @ total
    measures["bandwidth"] = Number(value=float(frequencies[below]) / 1000, unit="kHz", floor=0.1)
    measures["flatness"] = Number(value=float(flatness.mean()), unit="", floor=1e-4)
    measures["mel_energy"] = Histogram(
        shares=energy / energy.sum(), bins=tuple(f"band {number + 1}" for number in range(_BANDS))
    )
    return measures


def longest_silence(waveform: Waveform, start: float, end: float) -> tuple[float, float]:
    """Return the beginning and the length in seconds of the longest silence in the segment [start, end)."""
    begin, length = _longest(_silent(_segment(waveform, start, end)))
    return start + begin * _HOP / waveform.sample_rate, length * _HOP / waveform.sample_rate


def _segment(waveform: Waveform, start: float, end: float) -> NDArray[np.float32]:
    """Return the samples of a segment, padded with silence."""
    rate = waveform.sample_rate
    samples = waveform.samples[0, round(start * rate) : round(end * rate)]
    return np.pad(samples, (0, max(0, round((end - start) * rate) - len(samples))))


def _silent(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return whether each block of _HOP samples is softer than _SILENT_DB."""
    blocks = np.pad(samples, (0, -len(samples) % _HOP)).reshape(-1, _HOP).astype(np.float64)
    silent: NDArray[np.bool_] = 10 * np.log10((blocks**2).mean(1) + _LEAST) < _SILENT_DB
    return silent


def _longest(silent: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the first block of the longest run of silent blocks, and its length."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    return (int(edges[::2][lengths.argmax()]), int(lengths.max())) if len(lengths) else (0, 0)
