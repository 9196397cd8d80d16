"""Sound files: any that soundfile reads, any rate, any number of channels, as one channel of one rate."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Waveform
from muse_tokenizers.errors import UnreadablePiece, UnwritablePiece

__all__ = ["LONGEST_SECONDS", "SUFFIXES", "flac_bytes", "read_waveform", "wav_bytes", "write_waveform"]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".w64", ".caf", ".au"})
LONGEST_SECONDS = 4 * 3600.0
"""Of a file: what a piece weighs in memory grows with it, 5.8 MB a minute at 24 kHz."""

_BLOCK = 2**18
"""Frames that are read at once, whatever the file's length."""
_CHANNELS = 64
_SEARCHED = 4096
"""Bytes in which the first frame of an MP3 without a heading is looked for."""
_BY_NAME = (".mp3", ".mp2", ".mp1")
_BEGINNINGS = (b"ID3", b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff", b".snd")
"""Of an MP3 with a heading, and of what only bears its name."""


def read_waveform(file: Path | io.BytesIO, sample_rate: int, name: str | None = None) -> Waveform:
    """A sound file as one channel at `sample_rate`.

    Channels are averaged. What is beyond full scale (files of floats may be) is brought back to it as a whole.

    Args:
        file: where it is, or its bytes.
        sample_rate: Hz.
        name: what a message calls it; default: its path.

    Raises:
        UnreadablePiece: it cannot be read, or is empty, endless, damaged on the way, or not of numbers.
    """
    import soundfile

    name = name or str(file)
    try:
        if not _begins_like_sound(file):
            raise UnreadablePiece(f"{name} is not sound that can be read: no frame of MP3 is in it")
        with soundfile.SoundFile(file) as source:
            if source.channels > _CHANNELS:
                raise UnreadablePiece(f"{name} has {source.channels} channels; allowed: up to {_CHANNELS}")
            if source.frames > LONGEST_SECONDS * source.samplerate:
                hours = source.frames / source.samplerate / 3600
                raise UnreadablePiece(
                    f"{name} lasts {hours:.1f} hours; allowed: up to {LONGEST_SECONDS / 3600:g}; cut it into parts"
                )
            parts = list(_resampled(_mono_blocks(source, name), source.samplerate, sample_rate))
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _reason(str(error))
        raise UnreadablePiece(f"{name} is not sound that can be read: {reason}") from error
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(samples):
        raise UnreadablePiece(f"{name} is empty: it has no samples")
    peak = float(np.abs(samples).max())
    if peak > 1.0:
        samples /= peak
    return Waveform(samples=samples[None], sample_rate=sample_rate)


def _begins_like_sound(file: Path | io.BytesIO) -> bool:
    """Whether a decoder should look at it. That of MP3 takes anything for sound that is called so, and complains to the
    terminal; the others know their own."""
    if isinstance(file, io.BytesIO) or file.suffix.lower() not in _BY_NAME:
        return True
    with file.open("rb") as source:
        beginning = source.read(_SEARCHED)
    if beginning.startswith(_BEGINNINGS):
        return True
    # Frames of MP3 need no heading; each begins with eleven bits that are set.
    return re.search(rb"\xff[\xe0-\xff]", beginning) is not None


def _reason(text: str) -> str:
    """libsndfile's message without the path that stands before it."""
    reason = (text.rpartition("': ")[2] or text).strip().rstrip(".").splitlines()[0]
    # What it says of MP3 without a frame in it, though the file is there.
    return "its format is not known" if reason.startswith("File does not exist") else reason


def _mono_blocks(source: Any, name: str) -> Iterator[NDArray[np.float32]]:
    read = 0
    while True:
        block = source.read(_BLOCK, dtype="float32", always_2d=True)
        if not len(block):
            break
        read += len(block)
        mono = block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise UnreadablePiece(f"{name} has samples that are not numbers")
        yield mono
    # libsndfile reads on to the end of a file that was cut off, and says nothing. Only FLAC says how long it should be:
    # of MP3 the length is a guess, of WAV what is there.
    if source.format == "FLAC" and 0 < source.frames < 2**62 and read < source.frames:
        raise UnreadablePiece(f"{name} is cut off: it has {read:,} of {source.frames:,} samples")


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
    """A 16-bit WAV file; the same sound gives the same bytes."""
    import soundfile

    buffer = io.BytesIO()
    samples = np.clip(waveform.samples, -1.0, 1.0).T
    soundfile.write(buffer, samples, waveform.sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def flac_bytes(waveform: Waveform) -> bytes:
    """The very samples of `wav_bytes`, packed without loss; instead of none one of silence, since FLAC needs one."""
    import soundfile

    # Read back: libsndfile rounds for its two formats in two ways.
    samples, rate = soundfile.read(io.BytesIO(wav_bytes(waveform)), dtype="int16", always_2d=True)
    if not len(samples):
        samples = np.zeros((1, waveform.samples.shape[0]), dtype=np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def write_waveform(waveform: Waveform, path: Path) -> None:
    """Raises UnwritablePiece."""
    try:
        path.write_bytes(wav_bytes(waveform))
    except OSError as error:
        raise UnwritablePiece(f"cannot write {path}: {error.strerror}") from error
