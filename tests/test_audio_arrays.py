"""Promises about arrays of samples as prompts: they are the sound that a file of the same samples would be."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile

import muse_shortcut as muse
from muse_shortcut.api.prompts import read_prompt
from muse_tokenizers.base import Waveform
from muse_tokenizers.domain import Domain

RATE = 44100
WAVE = 0.4 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)
STEREO = np.stack([WAVE, 0.5 * np.roll(WAVE, 7)])


@pytest.fixture(scope="module")
def domain() -> Domain[Any]:
    return muse.domain_of(muse.load_tokenizer("audio"))


def read(domain: Domain[Any], array: Any, rate: Any = RATE) -> Any:
    piece = read_prompt(domain, (array, rate)).piece
    assert piece.sample_rate == 24000
    return piece.samples


def in_file(domain: Domain[Any], array: Any, subtype: str) -> Any:
    file = io.BytesIO()
    soundfile.write(file, array, RATE, format="WAV", subtype=subtype)
    return read_prompt(domain, file.getvalue()).piece.samples


@pytest.mark.parametrize(("kind", "subtype"), [("int16", "PCM_16"), ("int32", "PCM_32")])
def test_integers_are_the_sound_of_a_wav_file_that_has_them(domain: Domain[Any], kind: str, subtype: str) -> None:
    array = (WAVE * np.iinfo(kind).max).astype(kind)
    found = read(domain, array)
    assert np.array_equal(found, in_file(domain, array, subtype))
    assert 0.35 < np.abs(found).max() < 0.45


def test_unsigned_bytes_are_the_sound_of_a_wav_file_that_has_them(domain: Domain[Any]) -> None:
    file = io.BytesIO()
    soundfile.write(file, WAVE, RATE, format="WAV", subtype="PCM_U8")
    array = np.frombuffer(file.getvalue()[-len(WAVE) :], dtype=np.uint8)
    assert np.array_equal(read(domain, array), read_prompt(domain, file.getvalue()).piece.samples)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_floats_of_any_size_are_samples(domain: Domain[Any], kind: str) -> None:
    assert np.allclose(read(domain, WAVE.astype(kind)), read(domain, WAVE), atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_channels_are_mixed_as_those_of_a_file_in_either_order(domain: Domain[Any], scale: float) -> None:
    array = (scale * STEREO).astype(np.float32)
    expected = in_file(domain, array.T, "FLOAT")
    for given in (array, array.T, np.asfortranarray(array), array[:, ::-1][:, ::-1]):
        assert np.array_equal(read(domain, given), expected)
    assert np.array_equal(read_prompt(domain, Waveform(samples=array, sample_rate=RATE)).piece.samples, expected)


def test_channels_that_cancel_are_not_silence(domain: Domain[Any]) -> None:
    with pytest.warns(muse.FileWarning, match="the waveform has channels that cancel one another"):
        assert np.abs(read(domain, np.stack([WAVE, -WAVE]))).max() > 0.3


def test_numbers_of_numpy_are_sample_rates(domain: Domain[Any]) -> None:
    assert np.array_equal(read(domain, WAVE, np.int32(RATE)), read(domain, WAVE))


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (WAVE * 32767, "the waveform's samples reach 13106.*; allowed: floats from -1 to 1"),
        (np.append(WAVE, np.nan), "include NaN or infinity; allowed: floats from -1 to 1"),
        (np.append(WAVE, -np.inf), "include NaN or infinity"),
        ([1e300, 0.0] * 9000, "samples reach 1e.300"),
        (np.ones(9000, dtype=np.int64), "samples are int64; allowed: floats from -1 to 1, or integers as in a WAV"),
        (np.ones(9000, dtype=bool), "samples are bool; allowed"),
        (["a", "b"], "samples are str"),
        (WAVE + 1j, "samples are complex128"),
        ([object()] * 3, "samples are object"),
        (np.zeros((9, 9000)), r"have the shape \(9, 9000\); allowed: \(N,\), \(C, N\) or \(N, C\), with up to 8"),
        (np.zeros((1, 2, 9000)), r"have the shape \(1, 2, 9000\)"),
        (np.zeros(0), r"have the shape \(0,\)"),
        (0.5, r"have the shape \(\)"),
        ([[0.0, 0.1], [0.2]], "a waveform is a pair of an array"),
        (np.zeros((8, 8)), "is too short"),
        (np.zeros(3), "is too short"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(domain: Domain[Any], array: Any, line: str) -> None:
    with pytest.raises(muse.MuseError, match=line) as caught:
        read(domain, array)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [0, -1, 999, 768_001, 2**70, 44100.5, "44100", None, True, np.nan, [44100], WAVE])
def test_a_sample_rate_that_no_file_has_is_refused(domain: Domain[Any], rate: Any) -> None:
    with pytest.raises(muse.ArgumentsError, match=r"sample rate is .*; allowed: a whole number from 1,000 to 768,000"):
        read(domain, WAVE, rate)


@pytest.mark.parametrize("value", [WAVE, (WAVE,), (WAVE, RATE, 1), {"a": 1}, 3.5, object()])
def test_what_is_no_pair_is_refused(domain: Domain[Any], value: Any) -> None:
    with pytest.raises(muse.ArgumentsError, match="a waveform is a pair of an array"):
        read_prompt(domain, value)
