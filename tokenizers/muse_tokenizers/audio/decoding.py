"""Sound files as blocks of samples: by libsndfile, and by FFmpeg (PyAV) where that is installed.

What comes of a file comes in blocks, so that whoever has enough can stop; never is more than one of them in memory.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.audio.containers import Container, PatchedFile, look_at, opened
from muse_tokenizers.errors import UnreadablePiece

__all__ = ["BLOCK", "HAS_MEDIA", "Sound", "open_sound"]

BLOCK = 2**16
"""Frames of a block, at most."""
HAS_MEDIA = find_spec("av") is not None
"""Whether FFmpeg is here, as PyAV: the extra `media`."""
_CHANNELS = 64
_RATES = (1_000, 768_000)
"""Hz: beyond them a header is wrong, and a small file would become hours."""
_PLAIN = "WAV, FLAC, OGG, MP3, AIFF, CAF, AU or W64"
"""What is read without it."""
_WITH_LENGTH = ("mov", "matroska", "asf")
"""FFmpeg's formats whose files say how long they are; of others it guesses."""
_LEAST_MISSING = 0.2
"""Seconds."""
_BAD_PACKETS = 1_000
"""In a row, after which nothing more is expected of a file."""


@dataclass
class Sound:
    """A sound file that is being read."""

    rate: int
    """Hz."""
    channels: int
    frames: int | None
    """How many it says it has, if it does; they may not be there."""
    exactly: bool
    """Whether it has no fewer, but for what is missing."""
    container: Container
    blocks: Iterator[NDArray[np.float32]]
    """(n, C) each, n up to `BLOCK`."""
    damaged: bool = field(default=False)
    """Whether something could not be decoded, as far as has been read."""


@contextmanager
def open_sound(file: Path | io.BytesIO, name: str) -> Generator[Sound]:
    """Open a sound file.

    Args:
        file: where it is, or its bytes.
        name: what a message calls it.

    Raises:
        UnreadablePiece: it is none, of a kind that cannot be read here, or has no sense.
    """
    suffix = file.suffix.lower() if isinstance(file, Path) else ""
    try:
        with opened(file) as stream:
            container = look_at(stream, suffix)
            if container is None:
                raise UnreadablePiece(f"{name} is not sound that can be read: it begins as none of {_PLAIN} does")
            opener = _open_media if container.family == "media" else _open_sndfile
            sound, close = opener(stream, container, name)
            try:
                _check(sound, name)
                yield sound
            finally:
                close()
    except OSError as error:
        raise UnreadablePiece(f"{name} is not sound that can be read: {error.strerror or 'the disk fails'}") from error


def _check(sound: Sound, name: str) -> None:
    low, high = _RATES
    if not low <= sound.rate <= high:
        raise UnreadablePiece(f"{name} has {sound.rate:,} samples a second; allowed: {low:,} to {high:,}")
    if not 1 <= sound.channels <= _CHANNELS:
        raise UnreadablePiece(f"{name} has {sound.channels:,} channels; allowed: up to {_CHANNELS}")


def _open_sndfile(stream: Any, container: Container, name: str) -> tuple[Sound, Any]:
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        """Of a file that can be rewound it would seek after every block, which MP3 does not survive unchanged."""

        def seekable(self) -> bool:
            return False

    # Of most MP3s the length is a guess from the size of the file.
    counted = container.kind != "MP3" or _counts_frames(stream)
    stream.seek(0)
    file = PatchedFile(stream, container.patches)
    try:
        source = Forward(file)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        if container.media_format is not None and HAS_MEDIA:
            return _open_media(stream, container, name)
        raise _undecodable(container, name) from error
    sound = Sound(
        rate=source.samplerate,
        channels=source.channels,
        frames=source.frames if counted and 0 < source.frames < 2**62 else None,
        exactly=container.kind in ("FLAC", "MP3"),
        container=container,
        blocks=iter(()),
    )
    sound.blocks = _sndfile_blocks(source, file, sound, soundfile.SoundFileError)
    return sound, source.close


def _sndfile_blocks(
    source: Any, file: PatchedFile, sound: Sound, failure: type[Exception]
) -> Iterator[NDArray[np.float32]]:
    room = np.empty((BLOCK, sound.channels), dtype=np.float32)
    while True:
        room.fill(np.nan)
        try:
            read = len(source.read(out=room))
        except failure:
            # It does not say how much it had decoded before: what it has not written is as it was.
            sound.damaged = True
            read = int(np.argmax(np.isnan(room).all(axis=1))) if np.isnan(room[-1]).all() else BLOCK
        if file.failure is not None:
            raise file.failure
        if read:
            yield room[:read]
        if read < BLOCK or sound.damaged:
            return


def _counts_frames(stream: Any) -> bool:
    """Whether an MP3 says in its first frame how many follow."""
    stream.seek(0)
    head = stream.read(10)
    at = 0
    if head[:3] == b"ID3" and len(head) == 10:
        at = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    stream.seek(at)
    first = stream.read(256)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def _open_media(stream: Any, container: Container, name: str) -> tuple[Sound, Any]:
    if not HAS_MEDIA:
        raise UnreadablePiece(
            f"{name} is {container.kind} sound, which is read where PyAV is installed: "
            f"pip install 'muse-shortcut[media]'; or convert it to {_PLAIN}"
        )
    import av

    stream.seek(0)
    try:
        media = av.open(stream, format=container.media_format, metadata_errors="ignore")
    except (av.FFmpegError, ValueError, LookupError) as error:
        raise _undecodable(container, name) from error
    try:
        if not media.streams.audio:
            raise UnreadablePiece(f"{name} is {container.kind} without sound")
        sound = Sound(rate=0, channels=0, frames=None, exactly=False, container=container, blocks=iter(()))
        planes = _media_planes(media, sound, av)
        first = next(planes, None)
        if first is None:
            raise _undecodable(container, name)
        sound.blocks = _blocks_of(first, planes)
        if container.media_format in _WITH_LENGTH and media.duration:
            # Of the whole; sound may end a moment before a picture.
            sound.frames, sound.exactly = max(0, int((media.duration / 1e6 - _LEAST_MISSING) * sound.rate)), True
    except BaseException:
        media.close()
        raise
    return sound, media.close


def _media_planes(media: Any, sound: Sound, av: Any) -> Iterator[NDArray[np.float32]]:
    """(C, n) of each frame that can be decoded, of one rate and one number of channels."""
    stream = media.streams.audio[0]
    to_floats = av.AudioResampler(format="fltp")
    bad = 0
    packets = media.demux(stream)
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
                # What the heading says is half of it for some kinds of AAC.
                sound.rate, sound.channels = shape
            if shape != (sound.rate, sound.channels):
                sound.damaged = True
                return
            try:
                for part in to_floats.resample(frame):
                    yield part.to_ndarray()
            except (av.FFmpegError, ValueError):
                sound.damaged = True
                return


def _blocks_of(first: NDArray[np.float32], planes: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    waiting, count = [first], first.shape[1]
    for plane in planes:
        waiting.append(plane)
        count += plane.shape[1]
        while count >= BLOCK:
            joined = np.concatenate(waiting, axis=1)
            yield joined[:, :BLOCK].T
            waiting, count = [joined[:, BLOCK:]], count - BLOCK
    if count:
        yield np.concatenate(waiting, axis=1).T


def _undecodable(container: Container, name: str) -> UnreadablePiece:
    if container.kind == "MP4" and not container.has_index:
        return UnreadablePiece(
            f"{name} is MP4 without its index (moov): it was cut off, or its recording never ended; without it no "
            "program can play it"
        )
    how = "" if HAS_MEDIA or container.media_format is None else "; PyAV may: pip install 'muse-shortcut[media]'"
    return UnreadablePiece(
        f"{name} is not sound that can be read: it begins as {container.kind}, but no sound in it can be decoded{how}"
    )
