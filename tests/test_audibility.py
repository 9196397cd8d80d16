"""Tests of rendering: parts equal the whole, played notes are kept, and packed sound is unchanged."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_pieces import DRUMS, band, domain, make_score, note_rows, program_of, signature_rows, tempo_rows
from numpy.typing import NDArray
from small_codecs import RATE, audio_domain, waveform
from small_texts import VERSES, bpe

from muse_shortcut.shipped import shipped_prompt
from muse_tokenizers.audio.waveforms import flac_bytes, wav_bytes
from muse_tokenizers.base import Waveform
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.midi.playing import PlayedNote, instrument_parts, score_of_notes

# Parts of a sound


def added(some: Domain[Any], piece: Any, edges: Sequence[float]) -> NDArray[np.float64]:
    """(C, N) all parts between neighbouring edges, each added where it begins."""
    parts = []
    for start, end in pairwise(edges):
        part = some.render_between(piece, start, end)
        assert part is not None
        parts.append((round(start * part.sample_rate), part.samples))
    total = np.zeros((parts[0][1].shape[0], max(begin + part.shape[1] for begin, part in parts)))
    for begin, part in parts:
        total[:, begin : begin + part.shape[1]] += part
    return total


def piece_of(name: str) -> Any:
    path = shipped_prompt("midi", name)
    if path is not None:
        return domain("remi").read(path)
    # Nowhere on a second, under a pedal that is held over several of them, and with drums that ring over two.
    piano = [(beat * 0.77, 0.7, 48 + 5 * beat % 31, 80) for beat in range(14)]
    drums = [(3 * beat + 0.4, 0.1, 49, 90) for beat in range(4)]
    return make_score(
        {0: piano, DRUMS: drums}, tempos=[(0, 93), (3.3, 140), (7, 61)], pedals={0: [(1, 5.5), (5.6, 11)]}
    )


@pytest.mark.parametrize("name", ["saints", "greensleeves", "bach-prelude", "pedals, tempos, drums"])
def test_the_parts_of_a_score_added_up_are_the_score(name: str) -> None:
    remi, score = domain("remi"), piece_of(name)
    whole = remi.render(score, loudness=None)
    assert whole is not None
    # A louder one is brought down as a whole, which its parts cannot know.
    assert np.abs(whole.samples).max() < 0.88
    before = remi.dumps(score)
    total = added(remi, score, [float(second) for second in range(int(remi.duration(score)) + 2)])
    assert remi.dumps(score) == before
    length = max(total.shape[1], whole.samples.shape[1])
    one, other = (np.pad(sound, ((0, 0), (0, length - sound.shape[1]))) for sound in (total, whole.samples))
    assert np.abs(one - other).max() < 2e-3


def test_a_part_of_a_score_has_the_notes_that_begin_in_it_and_their_ends() -> None:
    score = make_score({0: [(0, 8, 60, 100)], DRUMS: [(3, 0.1, 49, 100)]}, pedals={0: [(0, 12)]})
    remi = domain("remi")
    first, second, third = (remi.render_between(score, start, start + 1.0) for start in (0.0, 1.0, 4.0))
    assert first is not None
    assert second is not None
    assert third is not None
    # Four seconds of a key, held by its pedal for two more.
    assert 5.0 < first.samples.shape[1] / first.sample_rate < 6.5
    silent = int(0.49 * second.sample_rate)
    assert not second.samples[:, :silent].any()
    assert np.abs(second.samples).max() > 0.01
    assert third.samples.shape == (2, 0)


def test_the_parts_of_a_sound_one_after_another_are_exactly_its_samples(tmp_path: Path) -> None:
    audio, piece = audio_domain(tmp_path / "codec"), waveform(3.4)
    for edges in ([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 0.33337, 0.7, 0.700021, 2.99999, 3.4]):
        parts = [audio.render_between(piece, *pair) for pair in pairwise(edges)]
        assert all(part is not None and part.sample_rate == RATE for part in parts)
        joined = np.concatenate([part.samples for part in parts if part is not None], axis=1)
        np.testing.assert_array_equal(joined, piece.samples)
        np.testing.assert_array_equal(added(audio, piece, edges), piece.samples)


def test_text_is_not_heard() -> None:
    assert bpe().render_between(VERSES, 0.0, 10.0) is None


# What was played

times = st.floats(0, 200).map(lambda seconds: round(seconds, 5))
played = st.lists(
    st.tuples(st.integers(0, 127), st.integers(1, 127), times, st.floats(0, 8)).map(
        lambda note: (note[0], note[1], note[2], note[2] + note[3])
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(notes=played, tempo=st.floats(20, 300), program=st.integers(0, 127))
def test_played_notes_are_kept_to_a_tick(notes: list[PlayedNote], tempo: float, program: int) -> None:
    score = score_of_notes(notes, tempo, program)
    (track,) = score.tracks
    assert (track.program, track.is_drum) == (program, False)
    kept = [(note.time, note.pitch, note.velocity, note.duration) for note in track.notes]
    assert min(time for time, *_ in kept) == 0
    seconds = 60 / tempo / score.ticks_per_quarter
    begin = min(note[2] for note in notes)
    expected = sorted((pitch, velocity, down - begin, max(up - down, 0.03)) for pitch, velocity, down, up in notes)
    found = sorted((pitch, velocity, time * seconds, length * seconds) for time, pitch, velocity, length in kept)
    assert [note[:2] for note in found] == [note[:2] for note in expected]
    # Where pitch and velocity are the same, times a rounding apart may have changed places in the sorting.
    for column in (2, 3):
        for key in {note[:2] for note in expected}:
            one, other = (sorted(note[column] for note in notes_ if note[:2] == key) for notes_ in (found, expected))
            np.testing.assert_allclose(one, other, atol=seconds * 1.001 if column == 3 else seconds * 0.501 + 1e-9)
    assert signature_rows(score) == [(0, 4, 4)]
    assert tempo_rows(score)[0][1] == pytest.approx(60e6 / tempo, abs=1)


def test_played_notes_can_be_written_and_continued() -> None:
    remi = domain("remi")
    score = score_of_notes([(60 + step, 70 + step, 3.1 + step / 2, 3.5 + step / 2) for step in range(16)], 120)
    again = remi.loads(remi.dumps(score))
    assert note_rows(again) == note_rows(score)
    prompt = remi.prompt(score)
    assert prompt.split_point == pytest.approx(8.0)
    assert sum(token.kind == "pitch" for [token] in remi.tokenizer.describe(prompt.ids)) == 16


REFUSED: list[tuple[str, list[Any], float, str]] = [
    ("no notes", [], 120, "nothing was played: there are no notes"),
    ("high", [(60, 80, 0.0, 1.0), (128, 80, 0.0, 1.0)], 120, "a played note is 128, 80, 0, 1; allowed: a pitch from 0"),
    ("low", [(-1, 80, 0.0, 1.0)], 120, "a played note is -1, 80, 0, 1; allowed"),
    ("silent", [(60, 0, 0.0, 1.0)], 120, "a played note is 60, 0, 0, 1; allowed"),
    ("too loud", [(60, 128, 0.0, 1.0)], 120, "a played note is 60, 128, 0, 1; allowed"),
    ("backwards", [(60, 80, 2.0, 1.0)], 120, "a played note is 60, 80, 2, 1; allowed"),
    ("before", [(60, 80, -0.5, 1.0)], 120, "a played note is 60, 80, -0.5, 1; allowed"),
    ("endless", [(60, 80, 0.0, float("inf"))], 120, "a played note is 60, 80, 0, inf; allowed"),
    ("never", [(60, 80, float("nan"), 1.0)], 120, "a played note is 60, 80, nan, 1; allowed"),
    ("beyond what ticks can count", [(60, 80, 0.0, 1e300)], 120, ""),
    ("late", [(60, 80, 0.0, 1.0), (60, 80, 1e9, 1e9)], 120, ""),
    ("slow", [(60, 80, 0.0, 1.0)], 19.9, "the tempo is 19.9; allowed: 20 to 300"),
    ("fast", [(60, 80, 0.0, 1.0)], 301, "the tempo is 301; allowed: 20 to 300"),
    ("no tempo", [(60, 80, 0.0, 1.0)], float("nan"), "the tempo is nan; allowed: 20 to 300"),
]


@pytest.mark.parametrize(("notes", "tempo", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_impossible_notes_are_refused_in_one_line(notes: list[Any], tempo: float, message: str) -> None:
    with pytest.raises(UnreadablePieceError, match=r"^[^\n]+$") as caught:
        score_of_notes(notes, tempo)
    assert str(caught.value).startswith(message)


def test_every_instrument_is_a_part_with_the_time_of_the_whole() -> None:
    score = band()
    # What has no notes is nobody's part.
    score.tracks.append(make_score({7: []}).tracks[0])
    before, expected = domain("remi").dumps(score), note_rows(score)
    parts = instrument_parts(score)
    assert len(parts) == sum(len(track.notes) > 0 for track in score.tracks) == 4
    assert [name.partition("-")[2] for name, _ in parts] == ["program-0", "program-40", "drums", "program-40"]
    assert len({name for name, _ in parts}) == len(parts)
    for (_, part), track in zip(parts, score.tracks, strict=False):
        assert [program_of(one) for one in part.tracks] == [program_of(track)]
        assert tempo_rows(part) == tempo_rows(score)
        assert signature_rows(part) == signature_rows(score)
        assert part.ticks_per_quarter == score.ticks_per_quarter
    assert sorted(row for _, part in parts for row in note_rows(part)) == expected
    for _, part in parts:
        for track in part.tracks:
            track.notes.clear()
    assert domain("remi").dumps(score) == before


# Packed sound


@pytest.mark.parametrize(("channels", "rate"), [(1, 24_000), (2, 44_100)])
def test_flac_holds_exactly_the_samples_of_wav(channels: int, rate: int) -> None:
    loud = np.random.default_rng(0).normal(0, 0.6, (channels, 3 * rate // 2)).astype(np.float32)
    assert np.abs(loud).max() > 1
    sound = Waveform(samples=loud, sample_rate=rate)
    (wav, its_rate), (flac, other_rate) = (
        soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
        for data in (wav_bytes(sound), flac_bytes(sound))
    )
    assert its_rate == other_rate == rate
    assert flac.shape == (loud.shape[1], channels)
    np.testing.assert_array_equal(flac, wav)
    np.testing.assert_allclose(flac.T / 32768, np.clip(loud, -1, 1), atol=1.01 / 32768)
    assert flac_bytes(sound).startswith(b"fLaC")
    assert flac_bytes(sound) == flac_bytes(sound)


def test_no_sound_is_a_file_that_can_be_opened() -> None:
    nothing = Waveform(samples=np.zeros((2, 0), dtype=np.float32), sample_rate=44_100)
    assert soundfile.info(io.BytesIO(wav_bytes(nothing))).frames == 0
    # One sample of silence: FLAC knows no empty files.
    assert soundfile.read(io.BytesIO(flac_bytes(nothing)))[0].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("program", [0, 40])
def test_a_harder_touch_is_louder_by_the_square_of_its_velocity(program: int) -> None:
    def loudness(velocity: int) -> float:
        score = make_score({program: [(0, 1, 60, velocity)]})
        heard = domain("remi").render_between(score, 0.0, 1.0)
        assert heard is not None
        return float(np.abs(heard.samples).max())

    for soft, hard in ((20, 40), (45, 90), (64, 127)):
        # To a decibel: velocities are rounded to so much.
        assert loudness(hard) / loudness(soft) == pytest.approx((hard / soft) ** 2, rel=0.13)


@pytest.mark.parametrize(("program", "pitch", "by", "at"), [(78, 67, 79, 67), (44, 96, 44, 84), (48, 92, 48, 80)])
def test_notes_that_read_beyond_their_samples_are_played_with_other_ones(
    program: int, pitch: int, by: int, at: int
) -> None:
    def heard(program: int, pitch: int) -> Any:
        found = domain("remi").render(make_score({program: [(0, 6, pitch, 90)]}), loudness=None)
        assert found is not None
        return found.samples

    np.testing.assert_array_equal(heard(program, pitch), heard(by, at))
    assert 0.01 < np.abs(heard(program, pitch)).max() < 1
