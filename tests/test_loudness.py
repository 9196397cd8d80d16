"""Loudness as defined by BS.1770-4, and the loudness of rendered sound."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
from midi_pieces import band, domain, make_score, scale
from numpy.typing import NDArray

from muse_shortcut.shipped import shipped_prompt
from muse_tokenizers.audio.codecs import SHIPPED
from muse_tokenizers.audio.domain import AudioDomain
from muse_tokenizers.audio.tokenizer import AudioTokenizer
from muse_tokenizers.audio.waveforms import wav_bytes
from muse_tokenizers.base import Waveform
from muse_tokenizers.loudness import gain_to, integrated_loudness, true_peak


def tone(decibels: float, seconds: float, rate: int = 48_000, channels: int = 2, pitch: float = 1000.0) -> NDArray[Any]:
    time = np.arange(round(seconds * rate)) / rate
    return np.tile(10 ** (decibels / 20) * np.sin(2 * np.pi * pitch * time), (channels, 1)).astype(np.float32)


def sound(*parts: NDArray[Any], rate: int = 48_000) -> Waveform:
    return Waveform(samples=np.concatenate(parts, axis=1), sample_rate=rate)


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
def test_a_full_scale_sine_on_one_channel_is_at_minus_three_lufs(rate: int) -> None:
    # BS.1770-4, annex 1: 0 dB FS at 997 Hz.
    assert integrated_loudness(sound(tone(0, 5, rate, 1, 997.0), rate=rate)) == pytest.approx(-3.01, abs=0.05)


def test_the_gated_loudness_of_the_broadcasters_test_signals_is_theirs() -> None:
    # EBU Tech 3341, table 1, cases 1 to 5; a tenth is allowed.
    loud, soft, softer = tone(-23, 20), tone(-36, 10), tone(-72, 10)
    cases = [
        (sound(loud), -23.0),
        (sound(tone(-33, 20)), -33.0),
        (sound(soft, tone(-23, 60), soft), -23.0),
        (sound(softer, soft, tone(-23, 60), soft, softer), -23.0),
        (sound(tone(-26, 20), tone(-20, 20.1), tone(-26, 20)), -23.0),
    ]
    for heard, expected in cases:
        assert integrated_loudness(heard) == pytest.approx(expected, abs=0.1)


def test_the_weighting_is_the_same_in_parts_and_counts_highs_more_than_lows() -> None:
    found = {pitch: integrated_loudness(sound(tone(-20, 8, pitch=pitch))) for pitch in (30.0, 1000.0, 8000.0)}
    # The response of the two filters at these frequencies, against 1 kHz.
    assert found[30.0] - found[1000.0] == pytest.approx(-9.4, abs=0.5)
    assert found[8000.0] - found[1000.0] == pytest.approx(3.3, abs=0.3)


def test_a_peak_between_samples_is_found() -> None:
    # EBU Tech 3341, case 15: a quarter of the rate, 45 degrees late, so that samples miss the peaks by 3 dB.
    fade = np.minimum(1.0, np.minimum(np.arange(48_000), np.arange(48_000)[::-1]) / 4000)
    samples = (0.5 * fade * np.sin(np.pi / 2 * np.arange(48_000) + np.pi / 4))[None].astype(np.float32)
    assert np.abs(samples).max() < 0.36
    assert 20 * np.log10(true_peak(sound(samples))) == pytest.approx(-6.0, abs=0.2)
    # Where parts of it are looked at one by one, nothing rings.
    long = sound(tone(-23, 20, channels=1))
    assert 20 * np.log10(true_peak(long)) == pytest.approx(-23.0, abs=0.01)


def test_the_gain_stops_where_the_peak_would_pass_and_silence_has_none() -> None:
    quiet = sound(tone(-40, 5))
    assert 20 * np.log10(gain_to(quiet, -16.0)) == pytest.approx(24.0, abs=0.1)
    clicks = np.zeros((2, 48_000 * 5), dtype=np.float32)
    clicks[:, ::4800] = 0.5
    assert 20 * np.log10(gain_to(sound(clicks), -16.0)) == pytest.approx(20 * np.log10(2) - 1, abs=0.1)
    for nothing in (np.zeros((2, 0), np.float32), np.zeros((1, 48_000), np.float32), np.zeros((2, 1), np.float32)):
        assert gain_to(sound(nothing), -16.0) == 1.0
    assert np.isfinite(gain_to(sound(tone(-30, 0.1)), -16.0))


@pytest.mark.parametrize("name", ["bach-prelude", "greensleeves", "saints"])
def test_the_sound_of_a_score_is_brought_to_its_loudness_by_one_gain(name: str) -> None:
    remi, path = domain("remi"), shipped_prompt("midi", name)
    assert path is not None
    score = remi.read(path)
    plain, heard, softer = (remi.render(score, loudness=wanted) for wanted in (None, -16.0, -30.0))
    assert plain is not None
    assert heard is not None
    assert softer is not None
    samples, rate = soundfile.read(io.BytesIO(wav_bytes(heard)), dtype="float32", always_2d=True)
    read = Waveform(samples=np.ascontiguousarray(samples.T), sample_rate=rate)
    assert integrated_loudness(read) == pytest.approx(-16.0, abs=0.05)
    assert 20 * np.log10(true_peak(read)) < -0.9
    assert integrated_loudness(softer) == pytest.approx(-30.0, abs=0.01)
    factor = np.abs(heard.samples).max() / np.abs(plain.samples).max()
    np.testing.assert_allclose(heard.samples, plain.samples * factor, rtol=1e-4, atol=1e-6)


def test_the_gain_is_limited_by_the_peaks() -> None:
    # One short drum: far from -16 LUFS when its peak is at -1 dBTP.
    heard = domain("remi").render(make_score({-1: [(0, 0.1, 37, 60), (8, 0.1, 37, 60)]}), loudness=-5.0)
    assert heard is not None
    assert 20 * np.log10(true_peak(heard)) == pytest.approx(-1.0, abs=0.01)
    assert integrated_loudness(heard) < -5.5


def test_scores_of_all_kinds_are_equally_loud() -> None:
    remi = domain("remi")
    for score in (scale(4), band()):
        heard = remi.render(score)
        assert heard is not None
        assert integrated_loudness(heard) == pytest.approx(-16.0, abs=0.05)
        assert (remi.describe_sound() or {})["loudness"] == -16.0


@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_continued_sound_is_as_loud_as_its_prompt(factor: float) -> None:
    audio, path = AudioDomain(AudioTokenizer.with_codec(SHIPPED, 4)), shipped_prompt("audio", "speech")
    assert path is not None
    piece = audio.read(path)
    given = Waveform(samples=piece.samples[:, : 3 * piece.sample_rate] * np.float32(factor), sample_rate=24_000)
    prompt = audio.prompt(given)
    nothing = np.zeros((0, audio.tokenizer.streams), dtype=np.int64)
    before, after = (integrated_loudness(one) for one in (given, audio.join(prompt, nothing)))
    assert after == pytest.approx(before, abs=0.3)
    assert prompt.gain > 1.1
    assert audio.extended(prompt, nothing).gain == prompt.gain
    assert audio.prompt(None).gain == audio.prompt(Waveform(samples=given.samples * 0, sample_rate=24_000)).gain == 1.0
