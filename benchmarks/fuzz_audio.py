"""Fuzzes headers of sound files: reading ends soon and needs little memory, and errors are one line.

    python benchmarks/fuzz_audio.py --count 100000 --jobs 2 --out output/fuzz/audio

The seeds are generated, a fifth of a second each, by libsndfile and by FFmpeg (PyAV). Most are decoded in a child
process, whose memory the reader limits; its time is included.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile
from fuzzing import Files, Fuzz, change_bytes, main

from muse_tokenizers.audio.waveforms import read_waveform
from muse_tokenizers.errors import UnreadablePieceError

__all__ = ["attempt", "make", "make_fuzz"]

RATE = 24_000
LIMIT = 2.0
"""Seconds to read of each file."""
SECONDS = 10.0
"""Time limit per input in seconds, including child processes."""
_HEAD = 600
"""Bytes at the beginning of a file that are changed most of the time."""
_SNDFILE: tuple[dict[str, Any], ...] = (
    {"format": "WAV"}, {"format": "WAV", "subtype": "FLOAT"}, {"format": "WAVEX", "subtype": "PCM_24"},
    {"format": "WAV", "subtype": "MS_ADPCM"}, {"format": "WAV", "subtype": "IMA_ADPCM"}, {"format": "RF64"},
    {"format": "W64"}, {"format": "AIFF"}, {"format": "AIFF", "subtype": "IMA_ADPCM"}, {"format": "CAF"},
    {"format": "CAF", "subtype": "ALAC_16"}, {"format": "AU"}, {"format": "FLAC"}, {"format": "OGG"},
    {"format": "OGG", "subtype": "OPUS"}, {"format": "MP3"}, {"format": "VOC"}, {"format": "NIST"}, {"format": "IRCAM"},
)  # fmt: skip
_MEDIA = (
    ("ipod", "aac"), ("ipod", "alac"), ("mov", "aac"), ("webm", "libopus"), ("matroska", "flac"), ("adts", "aac"),
    ("3gp", "aac"), ("mp2", "mp2"), ("ogg", "flac"), ("caf", "alac"), ("wav", "libmp3lame"), ("asf", "libmp3lame"),
)  # fmt: skip
_INTERESTING = (
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x01", b"\x01\0\0\0",
    b"\xff\xff", b"\0\x80", b"data", b"fmt ", b"LIST", b"ds64", b"SSND", b"COMM", b"moov", b"mdat", b"stsz", b"fLaC",
    b"OggS", b"ID3\x04", b"\xff\xfb\x90\x00", b"\x1aE\xdf\xa3", b"ftypM4A ", b"RIFF", b"RF64", b"\xff" * 8,
)  # fmt: skip


@cache
def seeds() -> tuple[bytes, ...]:
    """Return valid files of all supported formats."""
    made = []
    for channels, rate in ((1, 24_000), (2, 48_000)):
        times = np.arange(rate // 5) / rate
        sound = np.stack([0.3 * np.sin(2 * np.pi * 220 * (1 + c) * times) for c in range(channels)], axis=1)
        for how in _SNDFILE:
            buffer = io.BytesIO()
            soundfile.write(buffer, sound, rate, **{"subtype": None, **how})
            made.append(buffer.getvalue())
        made += [_encoded(container, codec, sound.T.astype(np.float32)) for container, codec in _MEDIA]
    return tuple(made)


def _encoded(container: str, codec: str, sound: np.ndarray[Any, Any]) -> bytes:
    import av

    layout = "stereo" if len(sound) == 2 else "mono"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=48_000, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = 48_000, 0
        context = stream.codec_context
        fitting = av.AudioResampler(context.format, layout, 48_000, frame_size=context.frame_size or None)
        for part in [*fitting.resample(frame), *fitting.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def make(random: Random) -> Files:
    """Make a file with a changed header, and sometimes with changed samples."""
    whole = random.choice(seeds())
    if random.random() < 0.2:
        return {"sound": change_bytes(random, whole, _INTERESTING)}
    head = min(len(whole), random.choice((64, 200, _HEAD)))
    if random.random() < 0.2:
        # MP4 has its index, and other formats have their tables, at the end.
        return {"sound": whole[:-head] + change_bytes(random, whole[-head:], _INTERESTING)}
    return {"sound": change_bytes(random, whole[:head], _INTERESTING) + whole[head:]}


def attempt(files: Files, folder: Path) -> str:
    """Read the beginning of the file."""
    messages: list[str] = []
    began = time.monotonic()
    try:
        samples = read_waveform(io.BytesIO(files["sound"]), RATE, "a", limit=LIMIT, warn=messages.append).samples
    except UnreadablePieceError as error:
        messages.append(str(error))
        outcome = "refused"
    else:
        outcome = "read with warnings" if messages else "read"
        if samples.shape[0] != 1 or not 1 <= samples.shape[1] <= LIMIT * RATE or not np.abs(samples).max() <= 1.0:
            raise AssertionError(f"samples {samples.shape} up to {np.abs(samples).max()}")
    if any("\n" in line or not line.startswith("a ") for line in messages):
        raise AssertionError(f"messages {messages}")
    if (took := time.monotonic() - began) > SECONDS:
        raise AssertionError(f"took {took:.1f} s")
    return outcome


def make_fuzz(_: argparse.Namespace) -> Fuzz:
    """Build the fuzz target of the command line."""
    return Fuzz(name="audio", make=make, attempt=attempt, keeps_folder=True)


if __name__ == "__main__":
    sys.exit(main(make_fuzz, argparse.ArgumentParser(description=__doc__.splitlines()[0])))
