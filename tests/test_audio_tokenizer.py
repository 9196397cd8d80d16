"""Promises of the audio domain: any sound file in, codes with the delay pattern, one sound out of prompt and codes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from midi_pieces import draw
from small_codecs import HOP, RATE, audio_domain, tone, waveform, write_codec

from muse_tokenizers.audio import waveforms
from muse_tokenizers.audio.constraints import AudioConstraints
from muse_tokenizers.audio.delay import delayed, undelayed
from muse_tokenizers.audio.domain import AudioDomain
from muse_tokenizers.audio.measures import log_mel
from muse_tokenizers.base import Waveform
from muse_tokenizers.errors import CodecError, ConstraintError, UnknownTokenizerError, UnreadablePieceError
from muse_tokenizers.loading import load_tokenizer
from muse_tokenizers.measures import Histogram, Number


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_codec(tmp_path_factory.mktemp("audio") / "codec")


@pytest.fixture(params=[1, 2, 4, 8])
def audio(request: pytest.FixtureRequest, folder: Path) -> AudioDomain:
    return audio_domain(folder, request.param)


@pytest.fixture(scope="module")
def four(folder: Path) -> AudioDomain:
    return audio_domain(folder, 4)


# The delay pattern


@given(st.integers(0, 12), st.integers(1, 8))
def test_delayed_and_undelayed_no_frame_is_lost(frames: int, streams: int) -> None:
    codes = np.arange(frames * streams).reshape(frames, streams)
    steps = delayed(codes, -1, -2)
    assert steps.shape == ((frames + streams - 1) if frames else 0, streams)
    for t, row in enumerate(steps):
        for k, code in enumerate(row):
            assert code == (-1 if t < k else codes[t - k, k] if t - k < frames else -2)
    assert undelayed(steps, steps >= 0).tolist() == codes.tolist()


@given(st.integers(1, 12), st.integers(1, 8), st.data())
def test_a_frame_that_lacks_a_code_ends_the_sound(frames: int, streams: int, data: st.DataObject) -> None:
    codes = np.arange(frames * streams).reshape(frames, streams)
    steps = delayed(codes, -1, -2)
    frame, stream = data.draw(st.integers(0, frames - 1)), data.draw(st.integers(0, streams - 1))
    steps[frame + stream, stream] = -1
    assert undelayed(steps, steps >= 0).tolist() == codes[:frame].tolist()


# Prompts and continuations


def test_a_prompt_and_its_partial_frames_have_all_its_codes(audio: AudioDomain) -> None:
    prompt = audio.prompt(waveform(2.0), 1.0)
    assert prompt.piece is not None
    assert prompt.partial_frames is not None
    assert prompt.split_point == pytest.approx(1.0)
    assert len(prompt.ids) == 1 + 75
    assert len(prompt.partial_frames) == audio.tokenizer.streams - 1
    given_codes = audio.tokenizer.codec.encode(prompt.piece.samples[0], audio.tokenizer.streams)
    steps = np.concatenate([prompt.ids[1:], prompt.partial_frames])
    for stream in range(audio.tokenizer.streams):
        assert steps[stream : stream + 75, stream].tolist() == given_codes[:, stream].tolist()
        assert (prompt.partial_frames[stream:, stream] == -1).all()


def test_a_prompt_of_more_than_an_hour_is_refused_and_a_part_of_it_is_not(four: AudioDomain) -> None:
    # One sample in memory, as long as it is told to be.
    samples = np.broadcast_to(np.zeros(1, np.float32), (1, 2 * 3600 * RATE))
    piece = Waveform(samples=samples, sample_rate=RATE)
    with pytest.raises(ConstraintError) as caught:
        four.prompt(piece)
    assert str(caught.value) == (
        "a prompt of sound lasts up to 60 minutes, and this one 120; continue a part of it (prompt_seconds)"
    )
    assert four.prompt(piece, 2.0).split_point == pytest.approx(2.0, abs=HOP / RATE)


def test_a_continuation_keeps_the_prompts_codes(audio: AudioDomain) -> None:
    prompt = audio.prompt(waveform(1.0))
    ids = draw(audio.grammar(prompt.ids, 3, AudioConstraints(seconds=0.5), prompt.partial_frames), 400, seed=0)
    for candidate in ids:
        frames = audio.tokenizer.frames(np.concatenate([prompt.ids, candidate]))
        assert (frames[:75] == audio.tokenizer.codec.encode(waveform(1.0).samples[0], audio.tokenizer.streams)).all()


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.5])
def test_a_requested_length_ends_with_the_next_whole_frame(audio: AudioDomain, seconds: float) -> None:
    for prompt in (audio.prompt(None), audio.prompt(waveform(1.0))):
        grammar = audio.grammar(prompt.ids, 2, AudioConstraints(seconds=seconds), prompt.partial_frames)
        ids = draw(grammar, 400, seed=0)[0]
        # The step that crosses it is not kept.
        joined = audio.join(prompt, ids[:-1])
        assert joined.samples.shape[1] == round(prompt.split_point * RATE) + int(seconds * 75 + 1e-9) * HOP
        assert grammar.finished.all()


def test_an_interrupted_continuation_is_the_prompt_and_the_whole_frames(audio: AudioDomain) -> None:
    prompt = audio.prompt(waveform(1.0))
    ids = draw(audio.grammar(prompt.ids, 1, AudioConstraints(seconds=9.0), prompt.partial_frames), 20, seed=0)[0]
    for steps in range(20):
        frames = audio.join(prompt, ids[:steps]).samples.shape[1] // HOP
        assert frames == 75 + max(0, steps - (audio.tokenizer.streams - 1))


def test_the_end_is_said_by_one_stream_after_another(audio: AudioDomain) -> None:
    prompt, streams = audio.prompt(waveform(1.0)), audio.tokenizer.streams
    grammar = audio.grammar(prompt.ids, 2, None, prompt.partial_frames)
    codes = draw(audio.grammar(prompt.ids, 1, AudioConstraints(seconds=9.0), prompt.partial_frames), 10, seed=0)[0]
    for row in codes[:-1]:
        grammar.advance(np.stack([row, row]))
    # The one candidate ends at the tenth step, the other goes on.
    ended = codes[-1].copy()
    for step in range(streams):
        allowed = grammar.allowed()[0]
        for stream in range(streams):
            may_go_on = stream > step or step == 0
            assert allowed[stream, audio.tokenizer.end] == (stream <= step)
            assert allowed[stream].sum() == (stream <= step) + may_go_on * audio.tokenizer.pad
        ended[: step + 1] = audio.tokenizer.end
        assert not grammar.finished[0]
        grammar.advance(np.stack([ended, codes[-1]]))
    assert grammar.finished.tolist() == [True, False]
    assert grammar.elapsed.tolist() == pytest.approx([9 / 75, 10 / 75])
    assert grammar.allowed()[0].sum() == streams
    assert grammar.allowed()[0, :, audio.tokenizer.pad].all()


@pytest.mark.parametrize("size", [1, 5, 75])
def test_a_sound_that_is_joined_while_it_grows_is_the_whole_one(audio: AudioDomain, size: int) -> None:
    for prompt in (audio.prompt(None), audio.prompt(waveform(1.0))):
        ids = draw(audio.grammar(prompt.ids, 1, AudioConstraints(seconds=9.0), prompt.partial_frames), 160, seed=0)[0]
        whole = audio.tokenizer.decode(np.concatenate([prompt.ids, ids])).samples[0]
        parts = list(audio.joining(prompt, (ids[at : at + size] for at in range(0, len(ids), size))))
        np.testing.assert_allclose(np.concatenate(parts), np.clip(whole * prompt.gain, -1, 1), atol=2e-5)
        assert (
            audio.join(prompt, ids).samples[0]
            == np.concatenate(list(audio.joining(prompt, (ids[at : at + 75] for at in range(0, len(ids), 75)))))
        ).all()
        # What is whole is given at once: after the prompt and the steps of the first frames.
        growing = audio.joining(prompt, (ids[at : at + size] for at in range(0, len(ids), size)))
        first = next(growing)
        assert len(first) >= 8 * HOP
        assert len(first) <= max(75, 8 + size) * HOP


def test_constraints_that_sound_does_not_support_are_refused(four: AudioDomain) -> None:
    for name, value in (("tempo", 90.0), ("key", "C"), ("bars", 4), ("instruments", ("piano",)), ("silence", 2.0)):
        with pytest.raises(ConstraintError, match=rf"^{name} is [^;]+; allowed: none, since"):
            four.constraints({name: value})


def test_ids_are_described_by_the_frame_they_belong_to(four: AudioDomain) -> None:
    prompt = four.prompt(waveform(0.5))
    described = four.tokenizer.describe(prompt.ids)
    assert {token.kind for token in described[0]} == {"special"}
    for step, row in enumerate(described[1:]):
        for stream, token in enumerate(row):
            if step < stream:
                assert (token.kind, token.label) == ("special", "padding")
            else:
                assert token.kind == f"codebook {stream + 1}"
                assert token.start == pytest.approx((step - stream) / 75)
                assert token.end == pytest.approx((step - stream + 1) / 75)
                assert token.value == token.id == prompt.ids[step + 1, stream]
                assert token.label == f"code {token.id}"


# The tokenizer as files


def test_an_own_codec_goes_where_its_tokenizer_goes(four: AudioDomain, tmp_path: Path) -> None:
    four.tokenizer.save(tmp_path / "a")
    assert {path.name for path in (tmp_path / "a" / "codec").iterdir()} == {"codec.json", "codec.safetensors"}
    again = load_tokenizer(tmp_path / "a")
    # It goes on when what it was read from is gone: a run drops its older checkpoints.
    shutil.rmtree(tmp_path / "a")
    again.save(tmp_path / "b")
    third = load_tokenizer(tmp_path / "b")
    piece = waveform(1.0)
    assert third.fingerprint() == four.tokenizer.fingerprint()
    assert (third.encode(piece) == four.tokenizer.encode(piece)).all()


def test_ids_of_another_codec_mean_something_else(four: AudioDomain, tmp_path: Path) -> None:
    other = audio_domain(write_codec(tmp_path / "other", seed=1), 4)
    assert other.tokenizer.fingerprint() != four.tokenizer.fingerprint()
    four.tokenizer.save(tmp_path / "a")
    write_codec(tmp_path / "a" / "codec", seed=1)
    with pytest.raises(UnknownTokenizerError, match=r"codec is another one: the SHA-256 of its codes begins"):
        load_tokenizer(tmp_path / "a")


@pytest.mark.parametrize("codebooks", [0, 3, 16, True, "4"])
def test_codebooks_that_there_are_not(folder: Path, codebooks: Any) -> None:
    with pytest.raises(CodecError, match=r"^codebooks is .*; allowed: 1, 2, 4, 8$"):
        audio_domain(folder, codebooks)


# Files of all kinds


def _write(path: Path, samples: Any, rate: int = RATE, **how: Any) -> Path:
    soundfile.write(path, samples, rate, **how)
    return path


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 12])
def test_any_rate_and_any_channels(four: AudioDomain, tmp_path: Path, rate: int, channels: int) -> None:
    sound = tone(1.0, rate=rate)
    piece = four.read(_write(tmp_path / "a.wav", np.stack([sound] * channels, axis=1), rate, subtype="FLOAT"))
    assert piece.sample_rate == RATE
    assert piece.samples.shape == (1, RATE)
    inner = slice(1000, -1000)
    np.testing.assert_allclose(piece.samples[0, inner], tone(1.0)[inner], atol=2e-3)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_any_format(four: AudioDomain, tmp_path: Path, ending: str) -> None:
    piece = four.read(_write(tmp_path / f"a.{ending}", tone(1.0)))
    assert abs(piece.samples.shape[1] - RATE) < 0.1 * RATE
    assert np.corrcoef(np.abs(np.fft.rfft(piece.samples[0], RATE)), np.abs(np.fft.rfft(tone(1.0))))[0, 1] > 0.95


def test_a_file_name_does_not_determine_the_kind(four: AudioDomain, tmp_path: Path) -> None:
    _write(tmp_path / "a.mp3", tone(1.0)).rename(tmp_path / "a.wav")
    said: list[str] = []
    assert four.read(tmp_path / "a.wav", warn=said.append).samples.shape[1] > 0.9 * RATE
    assert said == [f"{tmp_path / 'a.wav'} is MP3, although its name ends in .wav; reading it as MP3"]


@pytest.mark.parametrize("kind", ["NIST", "VOC", "IRCAM", "W64", "CAF", "AU"])
def test_rarer_formats_and_silence_before_the_sound(four: AudioDomain, tmp_path: Path, kind: str) -> None:
    sound = np.concatenate([np.zeros(RATE // 2), tone(0.5)])
    piece = four.read(_write(tmp_path / "a.sound", sound, format=kind, subtype="PCM_16"))
    np.testing.assert_allclose(piece.samples[0, :RATE], sound, atol=1e-4)


def test_an_mp3_whose_length_is_a_guess_is_whole(four: AudioDomain, tmp_path: Path) -> None:
    data = _write(tmp_path / "a.mp3", np.concatenate([np.zeros(5 * RATE), tone(5.0)])).read_bytes()
    # Without its first frame there is no heading that says how many frames follow.
    starts = [at for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] & 0xF6 == 0xF2]
    (tmp_path / "b.mp3").write_bytes(data[starts[1] :] if len(starts) > 1 else data)
    assert four.read(tmp_path / "b.mp3").samples.shape[1] > 9 * RATE


def test_telephone_sound(four: AudioDomain, tmp_path: Path) -> None:
    for subtype in ("PCM_U8", "ULAW", "ALAW"):
        piece = four.read(_write(tmp_path / "a.wav", tone(1.0, rate=8000), 8000, subtype=subtype))
        assert np.abs(piece.samples[0] - tone(1.0)).mean() < 0.01


def test_floats_beyond_full_scale_are_brought_back_to_it(four: AudioDomain, tmp_path: Path) -> None:
    loud = 5 * tone(1.0) / np.abs(tone(1.0)).max()
    piece = four.read(_write(tmp_path / "a.wav", loud, subtype="FLOAT"))
    assert np.abs(piece.samples).max() == pytest.approx(1.0)
    np.testing.assert_allclose(piece.samples[0], loud / 5, atol=1e-6)


def test_silence_is_sound(four: AudioDomain, tmp_path: Path) -> None:
    piece = four.read(_write(tmp_path / "a.wav", np.zeros(RATE)))
    assert len(four.tokenizer.encode(piece)) == 75 + 3
    assert set(four.measure(piece, 0.0, 1.0)) == {"level", "longest_silence"}


def test_files_that_are_not_sound_give_one_clear_line(four: AudioDomain, tmp_path: Path) -> None:
    not_a_number = tone(1.0)
    not_a_number[500] = np.nan
    (tmp_path / "text.wav").write_text("dear diary")
    (tmp_path / "nothing.wav").write_bytes(b"")
    for path, message in (
        (tmp_path / "text.wav", "is not a sound file that can be read"),
        (tmp_path / "nothing.wav", "is empty"),
        (tmp_path / "none.wav", "is not a sound file that can be read"),
        (tmp_path, "is not a sound file that can be read"),
        (_write(tmp_path / "empty.wav", np.zeros(0)), "is empty: it has no samples"),
        (_write(tmp_path / "one.wav", np.zeros(1)), "is too short: it lasts less than a frame, 0.0133 s"),
        (_write(tmp_path / "nan.wav", not_a_number, subtype="FLOAT"), "has samples that are not numbers"),
        (_write(tmp_path / "many.wav", np.zeros((10, 100))), "has 100 channels; allowed: up to 64"),
    ):
        with pytest.raises(UnreadablePieceError, match=rf"^[^\n]*{message}[^\n]*$") as caught:
            four.read(path)
        assert str(path) in str(caught.value)


def test_ten_hours_are_refused_before_they_are_read(
    four: AudioDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waveforms, "LONGEST_SECONDS", 1.0)
    path = _write(tmp_path / "long.wav", np.zeros(10 * RATE))
    with pytest.raises(UnreadablePieceError, match=r"lasts 0.0 hours; allowed: up to .*; cut it into parts"):
        four.read(path)


# What a sound is like


def test_measures_know_a_tone_from_noise_and_loud_from_soft(four: AudioDomain) -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=RATE).astype(np.float32)
    sine = (0.1 * np.sqrt(2) * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.float32)
    found = {}
    for name, samples in (("noise", noise), ("sine", sine), ("soft", sine / 10)):
        found[name] = four.measure(Waveform(samples=samples[None], sample_rate=RATE), 0.0, 1.0)

    def value(sound: str, measure: str) -> float:
        number = found[sound][measure]
        assert isinstance(number, Number)
        return number.value

    assert value("noise", "level") == pytest.approx(-20, abs=0.1)
    assert value("sine", "level") == pytest.approx(-20, abs=0.1)
    assert value("soft", "level") == pytest.approx(-40, abs=0.1)
    assert value("noise", "flatness") == pytest.approx(0.56, abs=0.02)
    assert value("sine", "flatness") < 0.01
    assert value("sine", "bandwidth") == pytest.approx(1.0, abs=0.05)
    assert value("noise", "bandwidth") == pytest.approx(0.95 * 12, abs=0.3)
    energy = found["sine"]["mel_energy"]
    assert isinstance(energy, Histogram)
    assert energy.shares.argmax() == pytest.approx(
        2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 12000 / 700)) * 41 - 1, abs=1
    )
    assert energy.shares.max() > 0.5


def test_silence_is_measured_in_seconds_and_includes_a_missing_end(four: AudioDomain) -> None:
    samples = np.concatenate([tone(1.0), np.zeros(RATE, np.float32), tone(0.5)])
    piece = Waveform(samples=samples[None], sample_rate=RATE)

    def silence(start: float, end: float) -> float:
        number = four.measure(piece, start, end)["longest_silence"]
        assert isinstance(number, Number)
        return number.value

    assert silence(0.0, 2.5) == pytest.approx(1.0, abs=0.03)
    assert silence(0.0, 1.0) == 0.0
    assert silence(0.0, 5.5) == pytest.approx(3.0, abs=0.03)
    assert silence(10.0, 12.0) == pytest.approx(2.0, abs=0.03)


def test_a_mel_spectrogram_shows_a_tone_where_it_is() -> None:
    mel = log_mel(waveform(1.0, hertz=440.0), bands=80)
    assert mel.shape[1] == 80
    assert -100.0 <= mel.min() < mel.max() <= 0.0
    bands = 2595 * np.log10(1 + 440 / 700) / (2595 * np.log10(1 + 12000 / 700)) * 81 - 1
    assert abs(int(mel.mean(0).argmax()) - bands) <= 1


# Long sounds

LONG = """
import resource, sys
from pathlib import Path
from muse_tokenizers.audio.codec import load_codec
from muse_tokenizers.audio.domain import AudioDomain
from muse_tokenizers.audio.tokenizer import AudioTokenizer
audio = AudioTokenizer(load_codec(Path(sys.argv[1])), 4)
ids = audio.encode(AudioDomain(audio).read(Path(sys.argv[2])))
piece = audio.decode(ids)
print(len(ids), piece.samples.shape[1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_an_hour_would_take_less_than_two_gibibytes(folder: Path, tmp_path: Path) -> None:
    taken = []
    for minutes in (1, 4):
        random = np.random.default_rng(0)
        path = tmp_path / f"{minutes}.flac"
        with soundfile.SoundFile(path, "w", 44_100, 2) as file:
            for _ in range(minutes * 6):
                file.write(random.uniform(-0.1, 0.1, (10 * 44_100, 2)))
        words = [sys.executable, "-c", LONG, str(folder), str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        steps, samples, memory = (int(word) for word in done.stdout.split())
        assert steps == minutes * 60 * 75 + 3
        assert samples == minutes * 60 * RATE
        taken.append(memory)
    # What a minute more takes is what its own samples and ids do, a few times.
    a_minute = (taken[1] - taken[0]) / 3
    assert taken[0] + 59 * a_minute < 2 * 2**30
