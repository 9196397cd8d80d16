"""Tests of decoding in a child process: whatever a file does to its decoder, the result is sound or one line."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_decoders
import soundfile

from muse_tokenizers.audio import decoding
from muse_tokenizers.audio.waveforms import read_waveform
from muse_tokenizers.child_process import ChildProcess
from muse_tokenizers.errors import UnreadablePieceError

RATE = 24_000


def written(kind: str = "FLAC", seconds: float = 1.0, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * RATE)) / RATE)
    soundfile.write(buffer, samples, RATE, format=kind, subtype=subtype)
    return buffer.getvalue()


def heard(data: bytes) -> np.ndarray[Any, Any]:
    return read_waveform(io.BytesIO(data), RATE, "a").samples[0]


@pytest.fixture(autouse=True)
def no_child_process_waits() -> Iterator[None]:
    decoding._close_all()
    yield
    decoding._close_all()


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (small_decoders.serve_crashing, "a is damaged: the decoder of FLAC crashes on it; if another program"),
        (small_decoders.serve_hanging, "a is damaged: the decoder of FLAC does not finish; if another"),
        (small_decoders.serve_growing, "a is damaged: it asks for more memory than its sound could need"),
    ],
)
def test_a_file_over_which_its_decoder_fails_is_refused_in_one_line(
    entry: Any, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_PATIENCE", 1.0)
    monkeypatch.setattr(decoding, "serve_decoders", entry)
    with pytest.raises(UnreadablePieceError) as refused:
        heard(written())
    assert str(refused.value).startswith(line)
    monkeypatch.undo()
    decoding._close_all()
    assert len(heard(written())) == RATE


def test_a_file_after_the_one_that_broke_the_decoder_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written()
    monkeypatch.setattr(decoding, "BLOCK", 8_000)
    monkeypatch.setattr(decoding, "serve_decoders", small_decoders.serve_once)
    # Three blocks and the end are four; the process crashes within the second file.
    first, second = heard(data), heard(data)
    assert len(first) == RATE
    assert (first == second).all()


def test_plain_wav_needs_no_child_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "ChildProcess", None)
    for subtype in ("PCM_16", "PCM_24", "FLOAT", "PCM_U8"):
        assert len(heard(written("WAV", subtype=subtype))) == RATE
    assert len(heard(written("WAVEX"))) == RATE
    for kind, subtype in (("WAV", "MS_ADPCM"), ("CAF", "ALAC_16"), ("FLAC", None)):
        with pytest.raises(TypeError):
            heard(written(kind, subtype=subtype))


def test_the_child_process_stays_for_the_next_file_wherever_the_program_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        (folder / "a.flac").write_bytes(written())
        monkeypatch.chdir(folder)
        assert read_waveform(Path("a.flac"), RATE).samples.shape == (1, RATE)
        with pytest.raises(
            UnreadablePieceError, match=r"^b is not a sound file that can be read: it begins as FLAC, but no sound"
        ):
            read_waveform(io.BytesIO(b"fLaC" + bytes(100)), RATE, "b")
    assert len(decoding._waiting) == 1


def test_memory_that_a_header_claims_is_not_taken() -> None:
    # MP3 in a WAV, which libsndfile leaves to FFmpeg: that would take what the list of names says that it has.
    head = (
        b"RIFF"
        + b"\xff\xff\xff\x7f"
        + b"WAVEfmt "
        + bytes.fromhex("1e000000 5500 0200 80bb0000 00000000 8004 0000 0c00")
    )
    head += bytes(12) + b"LIST" + b"\xff\xff\xff\x7f" + b"INFOISFT" + b"\xf0\xff\xff\x6f" + bytes(1000)
    with ChildProcess(decoding.serve_decoders) as child:
        child.send({"open": None, "name": "a", "media": True, "block": 2**16}, head)
        assert child.receive(60.0)[0]["refused"].startswith(
            "a is not a sound file that can be read: it begins as WAV, but "
        )
        if sys.platform == "linux":
            status = Path(f"/proc/{child._process.pid}/status").read_text()
            peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
            assert peak < 300 * 1024


def test_eight_or_more_channels_equal_the_output_of_ffmpeg() -> None:
    import av

    buffer = io.BytesIO()
    samples = np.tile(np.int32(2**29 * np.sin(np.arange(48_000) / 20)), (8, 1))
    with av.open(buffer, "w", format="matroska") as out:
        stream: Any = out.add_stream("flac", rate=48_000, layout="7.1")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T.reshape(1, -1)), format="s32", layout="7.1")
        frame.sample_rate, frame.pts = 48_000, 0
        context = stream.codec_context
        fitting = av.AudioResampler(context.format, "7.1", 48_000, frame_size=context.frame_size or None)
        for part in [*fitting.resample(frame), *fitting.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    mono = read_waveform(io.BytesIO(buffer.getvalue()), 48_000, "a").samples[0]
    assert np.allclose(mono, samples[0] / 2**31, atol=1e-4)


def test_a_child_process_ends_with_the_program_that_started_it() -> None:
    program = (
        "import io, os, sys; from muse_tokenizers.audio import decoding, waveforms;"
        "waveforms.read_waveform(io.BytesIO(sys.stdin.buffer.read()), 24_000, 'a');"
        "print(decoding._waiting[0]._process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=written(), capture_output=True, check=True)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("it is still there")
