"""Reads sound files of any format, rate and number of channels as one channel at one rate; writes WAV and FLAC."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.audio.decoding import HAS_MEDIA, Sound, open_sound
from muse_tokenizers.audio.mixing import Mixer
from muse_tokenizers.base import Waveform
from muse_tokenizers.contents import LOOKED_AT, check_content, head_of
from muse_tokenizers.errors import UnreadablePieceError, UnwritablePieceError, Warn, warn_about, warn_about_file
from muse_tokenizers.suffixes import MEDIA, SOUND

__all__ = [
    "LONGEST_SECONDS",
    "SUFFIXES",
    "flac_bytes",
    "float_wav_bytes",
    "join_parts",
    "read_waveform",
    "wav_bytes",
    "write_waveform",
]

SUFFIXES = frozenset(SOUND) - (frozenset() if HAS_MEDIA else MEDIA)
"""Suffixes of the files that can be read."""
_WRITTEN_BLOCK = 2**18
"""Samples."""
LONGEST_SECONDS = 4 * 3600.0
"""Longest sound that is read; reading takes 5.8 MB of memory per minute at 24 kHz."""


def read_waveform(
    file: Path | io.BytesIO,
    sample_rate: int,
    name: str | None = None,
    *,
    limit: float | None = None,
    warn: Warn = warn_about_file,
) -> Waveform:
    """Read a sound file as one channel at `sample_rate`.

    Channels are averaged; if they cancel each other, the loudest one is used. Sound beyond full scale (possible in
    float files) is scaled down as a whole. An incomplete file is read as far as possible.

    Args:
        file: Path of the file, or its bytes.
        sample_rate: Sample rate in Hz.
        name: Name of the file in messages; None for its path.
        limit: Number of seconds to read from its beginning. Their samples are the same as when the whole file is read.
        warn: Called with one line for everything that is missing or was repaired.

    Raises:
        UnreadablePieceError: The file cannot be read, is empty, is longer than LONGEST_SECONDS, or contains NaN or
            infinite samples.
    """
    name = name or str(file)
    wanted = None if limit is None else math.ceil(min(limit, LONGEST_SECONDS) * sample_rate)
    head = file.getbuffer()[:LOOKED_AT].tobytes() if isinstance(file, io.BytesIO) else head_of(file)
    check_content(head, "audio", name, warn)
    reading = _Reading(file, name, sample_rate, wanted)
    samples = reading.samples()
    if reading.mixer.cancels:
        del samples
        loudest = reading.mixer.loudest
        reading = _Reading(file, name, sample_rate, wanted, loudest)
        samples = reading.samples()
        reading.warnings.append(f"has channels that cancel one another: channel {loudest + 1}, the loudest, is used")
    warn_about([f"{name} {line}" for line in reading.warnings], name, warn)
    return Waveform(samples=samples[None], sample_rate=sample_rate)


class _Reading:
    """One pass over a file."""

    def __init__(
        self, file: Path | io.BytesIO, name: str, sample_rate: int, wanted: int | None, only: int | None = None
    ) -> None:
        self._file, self._name, self._sample_rate, self._wanted, self._only = file, name, sample_rate, wanted, only
        self.warnings: list[str] = []
        """Warnings, each the end of a sentence that begins with the file name."""
        self.mixer: Mixer
        self._frames = 0

    def samples(self) -> NDArray[np.float32]:
        """Return the samples, (N,) within full scale."""
        parts, count, peak, rest = [], 0, 0.0, True
        most = math.ceil(LONGEST_SECONDS * self._sample_rate) if self._wanted is None else self._wanted
        with open_sound(self._file, self._name) as sound:
            self.mixer = Mixer(sound.channels, self._only)
            if self._wanted is None and sound.frames is not None:
                # Before decoding, if the header states the length.
                self._refuse_long(sound.frames / sound.rate)
            for part in _resampled(self._mono_blocks(sound), sound.rate, self._sample_rate):
                parts.append(part)
                count += len(part)
                if self._wanted is not None and count >= most:
                    rest = False
                    break
                if count > most:
                    self._refuse_long(count / self._sample_rate)
            if rest:
                self._warn_about_missing(sound)
        if not count:
            raise UnreadablePieceError(f"{self._name} is empty: it has no samples")
        samples = join_parts(parts, min(count, most))
        peak = max(float(samples.max()), -float(samples.min()))
        if peak > 1.0:
            samples /= peak
        return samples

    def _refuse_long(self, seconds: float) -> None:
        if seconds > LONGEST_SECONDS:
            raise UnreadablePieceError(
                f"{self._name} lasts {seconds / 3600:.1f} hours; allowed: up to {LONGEST_SECONDS / 3600:g}; "
                "cut it into parts"
            )

    def _mono_blocks(self, sound: Sound) -> Iterator[NDArray[np.float32]]:
        for block in sound.blocks:
            self._frames += len(block)
            mono = self.mixer.mix(block)
            if not np.isfinite(mono).all():
                raise UnreadablePieceError(f"{self._name} has samples that are not numbers")
            yield mono

    def _warn_about_missing(self, sound: Sound) -> None:
        seconds = f"{self._frames / sound.rate:.2f} s"
        there = f"{seconds} of it could be read"
        if sound.container.lacks is not None:
            self.warnings.append(f"{sound.container.lacks}; {there}")
        elif sound.exactly and sound.frames is not None and self._frames < sound.frames:
            self.warnings.append(
                f"is cut off or damaged: only the first {seconds} of {sound.frames / sound.rate:.2f} s could be read"
            )
        elif sound.damaged:
            self.warnings.append(f"is damaged: {there}")


def join_parts(parts: list[NDArray[np.float32]], length: int) -> NDArray[np.float32]:
    """Join the first `length` samples of parts and free the parts on the way, so that no sample is in memory twice."""
    samples = np.empty(length, dtype=np.float32)
    at = 0
    for part in _taken(parts):
        samples[at : at + len(part)] = part[: length - at]
        at += len(part)
    return samples


def _taken(parts: list[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    parts.reverse()
    while parts:
        yield parts.pop()


def _resampled(blocks: Iterator[NDArray[np.float32]], before: int, after: int) -> Iterator[NDArray[np.float32]]:
    if before == after:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(before, after, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def wav_bytes(waveform: Waveform) -> bytes:
    """Return a 16-bit WAV file; equal sound gives equal bytes."""
    return _wav_bytes(waveform, "PCM_16")


def float_wav_bytes(waveform: Waveform) -> bytes:
    """Return a WAV file of 32-bit floats, which has exactly the samples of the waveform, even beyond full scale."""
    return _wav_bytes(waveform, "FLOAT")


def _wav_bytes(waveform: Waveform, subtype: Literal["PCM_16", "FLOAT"]) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    channels, length = waveform.samples.shape
    with soundfile.SoundFile(buffer, "w", waveform.sample_rate, channels, format="WAV", subtype=subtype) as file:
        # In blocks, since whole copies of an hour of sound take more memory than the sound.
        for start in range(0, length, _WRITTEN_BLOCK):
            block = waveform.samples[:, start : start + _WRITTEN_BLOCK]
            file.write((block if subtype == "FLOAT" else np.clip(block, -1.0, 1.0)).T)
    return buffer.getvalue()


def flac_bytes(waveform: Waveform) -> bytes:
    """Return a FLAC file with the same samples as `wav_bytes`; an empty sound becomes one silent sample, because FLAC
    needs one."""
    import soundfile

    # The WAV file is read back, because libsndfile rounds differently for the two formats.
    samples, rate = soundfile.read(io.BytesIO(wav_bytes(waveform)), dtype="int16", always_2d=True)
    if not len(samples):
        samples = np.zeros((1, waveform.samples.shape[0]), dtype=np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def write_waveform(waveform: Waveform, path: Path) -> None:
    """Write a 16-bit WAV file. Raises UnwritablePieceError."""
    try:
        path.write_bytes(wav_bytes(waveform))
    except OSError as error:
        raise UnwritablePieceError(f"cannot write {path}: {error.strerror}") from error
