"""Tests of reading sound: files of phones, recorders and DAWs, damaged files, and bounded memory."""

from __future__ import annotations

import builtins
import io
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from muse_tokenizers.audio import decoding, waveforms
from muse_tokenizers.audio.waveforms import SUFFIXES, read_waveform
from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.suffixes import MEDIA

RATE = 44_100
SECONDS = 3.0


def tone(seconds: float = SECONDS, rate: int = RATE, hertz: float = 220.0) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def written(samples: Any, rate: int = RATE, **how: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **{"format": "WAV", **how})
    return buffer.getvalue()


def media(container: str, codec: str, channels: int = 2) -> bytes:
    """A tone of 3 s, encoded by FFmpeg."""
    import av

    layout = "stereo" if channels == 2 else "mono"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=48_000, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.stack([tone(rate=48_000)] * channels), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = 48_000, 0
        size = stream.codec_context.frame_size or None
        fitting = av.AudioResampler(stream.codec_context.format, layout, 48_000, frame_size=size)
        for part in [*fitting.resample(frame), *fitting.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def heard(data: bytes, rate: int = 24_000, limit: float | None = None) -> tuple[NDArray[np.float32], list[str]]:
    """The samples, and what was said."""
    said: list[str] = []
    return read_waveform(io.BytesIO(data), rate, "a", limit=limit, warn=said.append).samples[0], said


def level(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean()))


# As much as is wanted


@pytest.mark.parametrize("rate", [1_000, 24_000, 44_100, 96_000])
@pytest.mark.parametrize("limit", [0.5, 1.00001])
def test_the_beginning_of_a_sound_is_as_in_the_whole(rate: int, limit: float) -> None:
    data = written(tone(rate=rate, hertz=110.0), rate, subtype="FLOAT")
    whole, _ = heard(data)
    part, said = heard(data, limit=limit)
    assert len(part) == np.ceil(limit * 24_000)
    assert (part == whole[: len(part)]).all()
    assert said == []


@pytest.mark.parametrize("kind", [{"format": "MP3"}, {"format": "OGG"}, {"format": "FLAC"}])
def test_blocks_together_equal_the_whole(kind: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(tone(), **kind)
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    monkeypatch.setattr(decoding, "BLOCK", 1_000)
    assert (heard(data, RATE)[0] == whole).all()


def test_samples_beyond_the_limit_are_not_checked() -> None:
    data = bytearray(written(np.zeros(10 * RATE), subtype="FLOAT"))
    data[-4:] = struct.pack("<f", float("nan"))
    with pytest.raises(UnreadablePieceError, match=r"^a has samples that are not numbers$"):
        heard(bytes(data))
    assert len(heard(bytes(data), limit=5.0)[0]) == 5 * 24_000


GROWTH = """
import resource, sys
from pathlib import Path
from muse_tokenizers.audio.waveforms import read_waveform
read_waveform(Path(sys.argv[1]), 24_000, limit=1.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(read_waveform(Path(sys.argv[2]), 24_000, limit=float(sys.argv[3])).samples[0]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_reading_a_minute_of_an_hour_takes_the_memory_of_a_minute(tmp_path: Path) -> None:
    # A small file: silence.
    (tmp_path / "a.flac").write_bytes(written(np.zeros((2 * RATE, 24), np.int16)[:, :8], format="FLAC"))
    with soundfile.SoundFile(tmp_path / "b.flac", "w", RATE, 8) as file:
        for _ in range(240):
            file.write(np.zeros((RATE, 8), np.int16))
    words = [sys.executable, "-c", GROWTH, str(tmp_path / "a.flac"), str(tmp_path / "b.flac"), "60"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    samples, growth = map(int, done.stdout.split())
    assert samples == 60 * 24_000
    # 6 MB of samples, and a block or two.
    assert growth < 40 * 1024


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
def test_rates_without_sense_are_refused(rate: int) -> None:
    data = bytearray(written(tone(0.1)))
    data[24:28] = struct.pack("<I", rate)
    with pytest.raises(UnreadablePieceError, match=rf"^a has {rate:,} samples? per second; allowed: 1,000 to 768,000$"):
        heard(bytes(data))


def test_too_long_recordings_are_refused_unless_a_limit_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveforms, "LONGEST_SECONDS", 2.0)
    for data in (written(tone()), media("webm", "libopus")):
        with pytest.raises(UnreadablePieceError, match=r"^a lasts 0\.0 hours; allowed: up to .*; cut it into parts$"):
            heard(data)
        assert len(heard(data, limit=1.0)[0]) == 24_000


# Kinds of files


@pytest.mark.parametrize(
    ("container", "codec"),
    [("ipod", "aac"), ("ipod", "alac"), ("webm", "libopus"), ("adts", "aac"), ("3gp", "aac"), ("mp2", "mp2"),
     ("aiff", "pcm_s16le"), ("caf", "alac"), ("ogg", "flac"), ("wav", "adpcm_ms"), ("wav", "libmp3lame")],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 2])
def test_files_from_phones_browsers_and_daws_are_read(container: str, codec: str, channels: int) -> None:
    samples, said = heard(media(container, codec, channels))
    assert len(samples) / 24_000 == pytest.approx(SECONDS, abs=0.1)
    assert level(samples[5000:-5000]) == pytest.approx(level(tone()), rel=0.1)
    assert said == []


def test_without_pyav_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = media("ipod", "aac")
    monkeypatch.setattr(decoding, "HAS_MEDIA", False)
    line = r"^a is MP4 sound, which needs PyAV: pip install 'muse-shortcut\[media\]'; or convert it"
    with pytest.raises(UnreadablePieceError, match=line):
        heard(data)


def test_the_extra_adds_its_suffixes_where_it_is_there() -> None:
    assert MEDIA <= SUFFIXES
    program = (
        "import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda n, *p: None if n == 'av' else find(n, *p);"
        "from muse_tokenizers.audio.waveforms import SUFFIXES; from muse_tokenizers.suffixes import MEDIA;"
        "print(sorted(SUFFIXES & MEDIA), sorted(SUFFIXES)[:2])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] ['.aif', '.aifc']"


def test_a_playlist_opens_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.wav").write_bytes(written(tone()))
    opened = []
    before = builtins.open

    def watch(*words: Any, **more: Any) -> Any:
        opened.append(str(words[0]))
        return before(*words, **more)

    monkeypatch.setattr(builtins, "open", watch)
    for text in (
        f"#EXTM3U\n#EXTINF:3,\n{tmp_path}/secret.wav\n",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.wav\n",
    ):
        with pytest.raises(
            UnreadablePieceError, match=r"^a is not a sound file that can be read: it is text; choose text for it$"
        ):
            heard(text.encode())
    assert not any("secret" in name for name in opened)


# Files that are not whole


def _split(data: bytes) -> bytes:
    return data[: len(data) * 6 // 10 + 1]


@pytest.mark.parametrize(
    "how",
    [{"format": "WAV"}, {"format": "RF64"}, {"format": "W64"}, {"format": "AIFF"}, {"format": "CAF"}, {"format": "AU"},
     {"format": "FLAC"}, {"format": "OGG"}, {"format": "OGG", "subtype": "OPUS"}, {"format": "MP3"}],
)  # fmt: skip
def test_truncated_files_are_read_as_far_as_possible(how: dict[str, str]) -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=(3 * 48_000, 2))
    whole, said = heard(written(noise, 48_000, **how))
    assert said == []
    part, said = heard(_split(written(noise, 48_000, **how)))
    assert len(said) == 1
    assert said[0].startswith("a is cut off")
    assert 0.3 * len(whole) < len(part) < 0.65 * len(whole)
    # The beginning is as it was, but for the resampler's last breath.
    same = len(part) - 2_000
    np.testing.assert_allclose(part[:same], whole[:same], atol=1e-6)


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("adts", "aac"), ("ogg", "flac")])
def test_media_that_were_cut_off_are_too(container: str, codec: str) -> None:
    samples, said = heard(_split(media(container, codec)))
    assert 0.3 * SECONDS < len(samples) / 24_000 < 0.65 * SECONDS
    assert len(said) == 1


def test_mp4_without_its_index_says_so() -> None:
    filler = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0" + bytes(4000)
    for data in (filler, _split(media("ipod", "aac"))):
        with pytest.raises(
            UnreadablePieceError, match=r"^a is MP4 without its index \(moov\): it was cut off, or its rec"
        ):
            heard(data)


@pytest.mark.parametrize("riff", [0, 2**32 - 1])
@pytest.mark.parametrize(("length", "line"), [(0, "says that it has no sound, but has some"),
                                              (2**32 - 1, "does not say how long it is"),
                                              (2**31 - 1, "does not say how long it is")])  # fmt: skip
def test_a_recorder_that_was_switched_off(riff: int, length: int, line: str) -> None:
    data = bytearray(written(tone(), subtype="PCM_U8"))
    data[4:8], data[40:44] = struct.pack("<I", riff), struct.pack("<I", length)
    samples, said = heard(bytes(data))
    assert len(samples) == SECONDS * 24_000
    assert said == [f"a {line}; 3.00 s of it could be read"]


def test_a_wav_whose_sound_is_empty_stays_empty() -> None:
    data = written(np.zeros(0))
    with pytest.raises(UnreadablePieceError, match=r"^a is empty: it has no samples$"):
        heard(data + b"LIST\x04\0\0\0INFO")


def test_an_aiff_of_no_length_is_read() -> None:
    data = bytearray(written(tone(), format="AIFF"))
    data[data.index(b"COMM") + 10 :][:4] = bytes(4)
    at = data.index(b"COMM") + 10
    data[at : at + 4] = bytes(4)
    at = data.index(b"SSND") + 4
    data[at : at + 4] = bytes(4)
    samples, said = heard(bytes(data))
    assert len(samples) == SECONDS * 24_000
    assert said == ["a says that it has no sound, but has some; 3.00 s of it could be read"]


# Channels


def test_channels_that_cancel_are_not_silence() -> None:
    left = tone()
    samples, said = heard(written(np.stack([left, -left], axis=1), subtype="FLOAT"), RATE)
    assert (samples == left).all()
    assert said == ["a has channels that cancel one another: channel 1, the loudest, is used"]
    samples, said = heard(written(np.stack([-0.5 * left, left, -0.6 * left], axis=1), subtype="FLOAT"), RATE)
    assert (samples == left).all()
    assert said == ["a has channels that cancel one another: channel 2, the loudest, is used"]


def test_channels_that_cancel_for_a_part_are_heard_there_too() -> None:
    left = tone(10.0)
    right = left.copy()
    right[6 * RATE :] *= -1
    samples, said = heard(written(np.stack([left, right], axis=1)), RATE)
    assert level(samples[7 * RATE :]) == pytest.approx(level(left), rel=0.01)
    assert len(said) == 1


@pytest.mark.parametrize("channels", [2, 6, 24])
def test_other_channels_are_averaged(channels: int) -> None:
    random = np.random.default_rng(0)
    sounds = {
        "unrelated": random.normal(scale=0.05, size=(RATE, channels)),
        "the same": np.stack([tone(1.0)] * channels, axis=1),
        "one alone": np.stack([tone(1.0), *[np.zeros(RATE)] * (channels - 1)], axis=1),
        "silence": np.zeros((RATE, channels)),
    }
    for sound in sounds.values():
        samples, said = heard(written(sound, subtype="DOUBLE"), RATE)
        np.testing.assert_allclose(samples, sound.mean(axis=1), atol=1e-6)
        assert said == []


# Libraries


def test_c_libraries_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = written(np.random.default_rng(0).normal(scale=0.1, size=RATE), format="MP3")
    broken = bytearray(data)
    broken[2000:2600] = bytes(range(200)) * 3
    junk = b"\xff\xfb\x90\x00" + np.random.default_rng(1).bytes(20_000)
    for content in (bytes(broken), data[:5000] + junk + data[5000:], junk, data[700:]):
        (tmp_path / "a.mp3").write_bytes(content)
        with suppress(UnreadablePieceError):
            read_waveform(tmp_path / "a.mp3", 24_000, warn=lambda _: None)
    mp4 = bytearray(media("ipod", "aac"))
    mp4[100:3000:7] = bytes(len(mp4[100:3000:7]))
    with suppress(UnreadablePieceError):
        heard(bytes(mp4))
    assert capfd.readouterr() == ("", "")
