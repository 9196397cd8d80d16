"""Converts arrays of samples, as soundfile, SciPy and torch give them, to waveforms."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.audio.decoders import HIGHEST_RATE, LOWEST_RATE
from muse_tokenizers.base import Waveform
from muse_tokenizers.errors import UnreadablePieceError

__all__ = ["waveform_of_array"]

_CHANNELS = 8
"""Largest number of channels of an array; also how the axis of the channels is found."""
_LARGEST = 8.0
"""Largest magnitude of floats. Sound beyond full scale is scaled down; integers that were converted to floats are far
beyond."""
_SCALES: dict[str, tuple[int, float]] = {"uint8": (128, 128.0), "int16": (0, 2.0**15), "int32": (0, 2.0**31)}
"""Zero and full scale of the integers that WAV files have."""


def waveform_of_array(value: Any) -> Waveform:
    """Convert a pair of an array and its sample rate to a waveform with the same channels and sample rate.

    Args:
        value: An array of shape (N,), (C, N) or (N, C), of floats or of the integers of WAV files, and its sample rate
            in Hz.

    Raises:
        UnreadablePieceError: It is no such pair, or its samples are not sound.
    """
    try:
        given, rate = value
        array = np.asarray(given)
    except Exception as error:
        raise UnreadablePieceError(
            "a waveform is a pair of an array, (N,), (C, N) or (N, C), and its sample rate in Hz"
        ) from error
    return Waveform(samples=_scaled(_with_channels_first(array)), sample_rate=_checked_rate(rate))


def _with_channels_first(array: NDArray[Any]) -> NDArray[Any]:
    """Return (N,), (C, N) or (N, C) as (C, N)."""
    if array.ndim in (1, 2) and array.size:
        array = np.atleast_2d(array)
        if array.shape[0] <= _CHANNELS:
            return array
        if array.shape[1] <= _CHANNELS:
            return array.T
    raise UnreadablePieceError(
        f"the waveform's samples have the shape {array.shape}; allowed: (N,), (C, N) or (N, C), with up to "
        f"{_CHANNELS} channels"
    )


def _scaled(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return samples whose full scale is 1."""
    name = array.dtype.name
    if name in _SCALES:
        zero, scale = _SCALES[name]
        return ((array.astype(np.float64) - zero) / scale).astype(np.float32)
    if not np.issubdtype(array.dtype, np.floating):
        raise UnreadablePieceError(
            f"the waveform's samples are {name}; allowed: floats from -1 to 1, or integers as in a WAV file "
            f"({', '.join(_SCALES)})"
        )
    if not np.isfinite(array).all():
        raise UnreadablePieceError("the waveform's samples include NaN or infinity; allowed: floats from -1 to 1")
    peak = float(np.abs(array).max())
    if peak > _LARGEST:
        raise UnreadablePieceError(
            f"the waveform's samples reach {peak:g}; allowed: floats from -1 to 1; divide them by their full scale"
        )
    return array.astype(np.float32)


def _checked_rate(rate: Any) -> int:
    # NumPy registers its integers as Integral. True is an int, but no rate.
    if not isinstance(rate, Integral) or isinstance(rate, bool) or not LOWEST_RATE <= int(rate) <= HIGHEST_RATE:
        raise UnreadablePieceError(
            f"the waveform's sample rate is {str(rate)[:40]}; allowed: a whole number from {LOWEST_RATE:,} to "
            f"{HIGHEST_RATE:,} Hz"
        )
    return int(rate)
