"""Decodes sound files in this process with libsndfile, and with FFmpeg (PyAV) if that is installed.

A file is decoded in blocks, so that the caller can stop early; only one block is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.audio.containers import Container, PatchedFile
from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.wording import counted

__all__ = ["ALL", "HIGHEST_RATE", "LOWEST_RATE", "PLAIN", "Sound", "decoded", "import_decoders"]

_CHANNELS = 64
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Valid sample rates in Hz: beyond them the header is wrong, and a small file would become hours."""
PLAIN = "WAV, FLAC, OGG, MP3, AIFF, CAF, AU or W64"
"""Formats that are read without FFmpeg."""
ALL = "WAV, FLAC, OGG, MP3, AIFF, CAF, AU, W64, M4A, AAC, WebM, 3GP, AMR or WMA"
"""Formats that are read with FFmpeg."""
_WITH_LENGTH = ("mov", "matroska", "asf")
"""FFmpeg formats whose files state their length; for others FFmpeg estimates it."""
_LEAST_MISSING = 0.2
"""Seconds."""
_BAD_PACKETS = 1_000
"""Number of consecutive decoding errors after which the file is given up."""


@dataclass
class Sound:
    """A sound file that is being decoded."""

    rate: int
    """Sample rate in Hz."""
    channels: int
    frames: int | None
    """Stated number of frames, if there is one; the file may have fewer."""
    exactly: bool
    """Whether the stated number is exact, so that fewer frames mean missing data."""
    container: Container
    blocks: Iterator[NDArray[np.float32]]
    """Blocks of (n, C) float32 samples, with n up to `BLOCK`."""
    damaged: bool = field(default=False)
    """Whether something could not be decoded so far."""


@contextmanager
def decoded(stream: BinaryIO, container: Container, name: str, *, media: bool, block: int) -> Generator[Sound]:
    """Decode a sound file.

    Args:
        stream: The file, which must be seekable.
        container: Container of the file.
        name: Name of the file in messages.
        media: Whether FFmpeg may be used.
        block: Largest number of frames per block.

    Raises:
        UnreadablePieceError: The format is not supported here, or the header is invalid.
        OSError: The file could not be read from the disk.
    """
    opener = _open_media if container.family == "media" else _open_sndfile
    sound, close = opener(stream, container, name, media, block)
    try:
        _check(sound, name)
        yield sound
    finally:
        close()


def import_decoders(*, media: bool) -> None:
    """Import the modules that decoding the first file needs."""
    import soundfile  # noqa: F401

    if media:
        import av  # noqa: F401


def _check(sound: Sound, name: str) -> None:
    if not LOWEST_RATE <= sound.rate <= HIGHEST_RATE:
        raise UnreadablePieceError(
            f"{name} has {counted(sound.rate, 'sample')} per second; allowed: {LOWEST_RATE:,} to {HIGHEST_RATE:,}"
        )
    if not 1 <= sound.channels <= _CHANNELS:
        raise UnreadablePieceError(f"{name} has {sound.channels:,} channels; allowed: up to {_CHANNELS}")


def _open_sndfile(stream: BinaryIO, container: Container, name: str, media: bool, block: int) -> tuple[Sound, Any]:
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        """Hides that the file is seekable: otherwise soundfile seeks after every block, which changes the output for
        MP3."""

        def seekable(self) -> bool:
            return False

    # For most MP3 files the length is an estimate from the size of the file.
    counted = container.kind != "MP3" or _counts_frames(stream)
    stream.seek(0)
    file = PatchedFile(stream, container.patches)
    try:
        source = Forward(file)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        if container.media_format is not None and media:
            return _open_media(stream, container, name, media, block)
        raise _undecodable(container, name, media) from error
    sound = Sound(
        rate=source.samplerate,
        channels=source.channels,
        frames=source.frames if counted and 0 < source.frames < 2**62 else None,
        exactly=container.kind in ("FLAC", "MP3"),
        container=container,
        blocks=iter(()),
    )
    sound.blocks = _sndfile_blocks(source, file, sound, block, soundfile.SoundFileError)
    return sound, source.close


def _sndfile_blocks(
    source: Any, file: PatchedFile, sound: Sound, most: int, failure: type[Exception]
) -> Iterator[NDArray[np.float32]]:
    room = np.empty((most, sound.channels), dtype=np.float32)
    while True:
        room.fill(np.nan)
        try:
            read = len(source.read(out=room))
        except failure:
            # The number of samples before the error is unknown: unwritten samples still have their fill value.
            sound.damaged = True
            read = int(np.argmax(np.isnan(room).all(axis=1))) if np.isnan(room[-1]).all() else most
        if file.failure is not None:
            raise file.failure
        if read:
            yield room[:read]
        if read < most or sound.damaged:
            return


def _counts_frames(stream: BinaryIO) -> bool:
    """Whether the first frame of an MP3 file states the number of frames."""
    stream.seek(0)
    head = stream.read(10)
    at = 0
    if head[:3] == b"ID3" and len(head) == 10:
        at = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    stream.seek(at)
    first = stream.read(256)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def _open_media(stream: BinaryIO, container: Container, name: str, media: bool, block: int) -> tuple[Sound, Any]:
    if not media:
        raise UnreadablePieceError(
            f"{name} is {container.kind} sound, which needs PyAV: pip install 'muse-shortcut[media]'; or convert it to "
            f"{PLAIN}"
        )
    import av

    stream.seek(0)
    try:
        source: Any = av.open(stream, format=container.media_format, metadata_errors="ignore")
    except (av.FFmpegError, ValueError, LookupError) as error:
        raise _undecodable(container, name, media) from error
    try:
        if not source.streams.audio:
            raise UnreadablePieceError(f"{name} is {container.kind} without sound")
        sound = Sound(rate=0, channels=0, frames=None, exactly=False, container=container, blocks=iter(()))
        planes = _media_planes(source, sound, av)
        first = next(planes, None)
        if first is None:
            raise _undecodable(container, name, media)
        sound.blocks = _blocks_of(first, planes, block)
        if container.media_format in _WITH_LENGTH and source.duration:
            # Duration of the container; sound may end slightly before the picture.
            sound.frames, sound.exactly = max(0, int((source.duration / 1e6 - _LEAST_MISSING) * sound.rate)), True
    except BaseException:
        source.close()
        raise
    return sound, source.close


def _media_planes(source: Any, sound: Sound, av: Any) -> Iterator[NDArray[np.float32]]:
    """Yield the (C, n) samples of each frame that can be decoded; all have the same rate and number of channels."""
    stream = source.streams.audio[0]
    # PyAV miscounts the channels of planar frames from eight channels on.
    to_floats = av.AudioResampler(format="flt")
    bad = 0
    packets = source.demux(stream)
    while bad < _BAD_PACKETS:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except (av.FFmpegError, ValueError, LookupError):
            sound.damaged, bad = True, bad + 1
            continue
        bad = 0
        for frame in frames:
            shape = (frame.sample_rate, len(frame.layout.channels))
            if not sound.rate:
                # For some kinds of AAC the header states half the rate.
                sound.rate, sound.channels = shape
            if shape != (sound.rate, sound.channels):
                sound.damaged = True
                return
            try:
                for part in to_floats.resample(frame):
                    yield part.to_ndarray().reshape(-1, sound.channels).T
            except (av.FFmpegError, ValueError):
                sound.damaged = True
                return


def _blocks_of(
    first: NDArray[np.float32], planes: Iterator[NDArray[np.float32]], most: int
) -> Iterator[NDArray[np.float32]]:
    waiting, count = [first], first.shape[1]
    for plane in planes:
        waiting.append(plane)
        count += plane.shape[1]
        while count >= most:
            joined = np.concatenate(waiting, axis=1)
            yield joined[:, :most].T
            waiting, count = [joined[:, most:]], count - most
    if count:
        yield np.concatenate(waiting, axis=1).T


def _undecodable(container: Container, name: str, media: bool) -> UnreadablePieceError:
    if container.kind == "MP4" and not container.has_index:
        return UnreadablePieceError(
            f"{name} is MP4 without its index (moov): it was cut off, or its recording never ended; without it no "
            "program can play it"
        )
    how = "" if media or container.media_format is None else "; PyAV may be able to: pip install 'muse-shortcut[media]'"
    return UnreadablePieceError(
        f"{name} is not a sound file that can be read: it begins as {container.kind}, but no sound in it can be "
        f"decoded{how}"
    )
