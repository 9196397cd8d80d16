"""Rendering of scores: loud enough, never too loud, of the right length, and reproducible."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from midi_pieces import DRUMS, band, domain, make_score, scale
from small_soundfonts import small_soundfont
from symusic import Note, Score, Track

from muse_tokenizers.base import Waveform
from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.midi import soundfonts, synthesiser
from muse_tokenizers.midi.soundfonts import default_soundfont
from muse_tokenizers.midi.synthesis import describe_soundfont, render_score

RATE = 44_100


def seconds(sound: Waveform) -> float:
    return sound.samples.shape[1] / sound.sample_rate


def test_sound_is_stereo_at_44100_hz_and_does_not_clip() -> None:
    for score in (scale(2), band()):
        sound = render_score(score)
        assert sound.sample_rate == RATE
        assert sound.samples.dtype == np.float32
        assert sound.samples.shape[0] == 2
        assert sound.samples.flags.c_contiguous
        assert 0.05 < np.abs(sound.samples).max() <= 0.9
        assert np.isfinite(sound.samples).all()


def test_many_loud_notes_at_once_are_brought_down() -> None:
    loud = make_score({program: [(0, 1, 48 + i, 127) for i in range(24)] for program in (0, 48, 56)})
    assert np.abs(render_score(loud).samples).max() == pytest.approx(0.89, abs=1e-3)


@pytest.mark.parametrize(("tempo", "length"), [(120, 8.0), (240, 4.0), (60, 16.0)])
def test_sound_lasts_as_long_as_the_score_and_its_decay(tempo: float, length: float) -> None:
    score = scale(4, tempos=[(0, tempo)])
    # The last note ends a quarter of a beat before the last bar line.
    assert length - 0.26 * 60 / tempo <= seconds(render_score(score)) <= length + 3


def test_no_silence_is_rendered_after_the_last_sound() -> None:
    score = make_score({0: [(0, 1, 60, 100)]}, tempos=[(0, 120), (2000, 120)], controls={0: [(1000, 7, 100)]})
    assert seconds(render_score(score)) < 4
    held = make_score({0: [(0, 1, 60, 100)]}, pedals={0: [(0, 400)]})
    assert seconds(render_score(held)) < 15


def test_silence_before_the_first_note_is_kept() -> None:
    samples = render_score(make_score({0: [(4, 1, 60, 100)]})).samples
    first = np.flatnonzero(np.abs(samples).max(axis=0) > 0.01)[0] / RATE
    assert first == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("score", [make_score({}), make_score({0: []}), make_score({0: [(0, 1, 60, 0)]})])
def test_an_empty_score_is_no_sound_and_no_crash(score: Any) -> None:
    sound = render_score(score)
    assert sound.samples.shape == (2, 0)
    assert sound.samples.dtype == np.float32


def test_the_same_score_gives_the_same_samples() -> None:
    assert (render_score(band()).samples == render_score(band()).samples).all()


def test_the_pedal_is_heard() -> None:
    note = [(0, 0.5, 60, 100)]
    short, long = render_score(make_score({0: note})), render_score(make_score({0: note}, pedals={0: [(0, 4)]}))
    assert seconds(short) < 0.5
    assert seconds(long) == pytest.approx(2.0, abs=0.1)


def test_drums_ring_out_until_they_are_struck_again() -> None:
    crash = render_score(make_score({DRUMS: [(0, 0.05, 49, 120)]}))
    assert 1.0 < seconds(crash) < 2.0
    again = render_score(make_score({DRUMS: [(0, 0.05, 49, 120), (0.5, 0.05, 49, 120)]}))
    assert seconds(again) == pytest.approx(seconds(crash) + 0.25, abs=0.01)


def test_rendering_leaves_the_score_as_it_is() -> None:
    remi, score = domain("remi"), band()
    before = remi.dumps(score)
    render_score(score)
    assert remi.dumps(score) == before


# The soundfont


def test_the_soundfont_is_the_one_that_pretty_midi_installed() -> None:
    font = default_soundfont()
    assert font.name == "TimGM6mb.sf2"
    assert font.parent.name == "pretty_midi"
    described = describe_soundfont()
    assert described["soundfont"] == "TimGM6mb.sf2"
    assert re.fullmatch("[0-9a-f]{64}", described["sha256"])
    assert describe_soundfont(font) == described


def test_a_soundfont_by_its_path_sounds_the_same(tmp_path: Path) -> None:
    (tmp_path / "link.sf2").symlink_to(default_soundfont())
    named = render_score(scale(1), tmp_path / "link.sf2")
    assert (named.samples == render_score(scale(1)).samples).all()


def soundfont_refusal(font: Path) -> str:
    with pytest.raises(UnreadablePieceError, match=r"^[^\n]+$") as caught:
        render_score(scale(1), font)
    return str(caught.value).replace(str(font), "FONT")


def test_a_missing_or_wrong_soundfont_is_named(tmp_path: Path) -> None:
    assert soundfont_refusal(tmp_path / "none.sf2") == "cannot read the soundfont FONT: No such file or directory"
    assert soundfont_refusal(tmp_path) == "cannot read the soundfont FONT: Is a directory"
    for number, content in enumerate((b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVE", b"text" * 100)):
        font = tmp_path / f"wrong-{number}.sf2"
        font.write_bytes(content)
        assert soundfont_refusal(font) == "FONT is not a soundfont: it should be an .sf2 or .sf3 file"
        with pytest.raises(UnreadablePieceError, match="is not a soundfont"):
            describe_soundfont(font)


def test_a_truncated_soundfont_is_named(tmp_path: Path) -> None:
    whole = default_soundfont().read_bytes()
    for length in (12, 1000, len(whole) // 2):
        font = tmp_path / f"{length}.sf2"
        font.write_bytes(whole[:length])
        assert soundfont_refusal(font).startswith("cannot play with the soundfont FONT: ")


def test_a_soundfont_that_ends_the_synthesiser_is_refused_in_one_line(tmp_path: Path) -> None:
    font = tmp_path / "font.sf2"
    font.write_bytes(small_soundfont())
    whole = render_score(scale(1), font)
    assert 0.01 < np.abs(whole.samples).max() < 1
    # Read where nothing is, the first ends the process that plays it; of the others symusic says so.
    damaged = {"start": 2**30, "end": 2**30 + 2**20}, {"end": 2**31}, {"sample": 900}
    for changed in damaged:
        font.write_bytes(small_soundfont(**changed))
        assert re.fullmatch(r"cannot play with the soundfont FONT: [^\n]*damaged[^\n]*", soundfont_refusal(font))
        with pytest.raises(UnreadablePieceError, match=r"^cannot play with the soundfont [^\n]*damaged[^\n]*$"):
            describe_soundfont(font)
    font.write_bytes(small_soundfont())
    assert (render_score(scale(1), font).samples == whole.samples).all()


def test_missing_or_oversized_soundfonts_are_not_read(tmp_path: Path) -> None:
    font = tmp_path / "large.sf2"
    with font.open("wb") as file:
        file.write(small_soundfont())
        file.truncate(30 * 2**30)
    assert soundfont_refusal(font) == "the soundfont FONT has 30.0 GiB; allowed: up to 1 GiB"
    os.mkfifo(tmp_path / "pipe.sf2")
    assert soundfont_refusal(tmp_path / "pipe.sf2") == "FONT is not a soundfont: it should be an .sf2 or .sf3 file"


def test_a_synthesiser_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    font = tmp_path / "font.sf2"
    font.write_bytes(small_soundfont())
    monkeypatch.setattr(synthesiser, "_PATIENCE", (0.001, 0.0))
    assert soundfont_refusal(font).endswith("it is damaged; the synthesiser did not finish")


def test_without_pretty_midi_the_error_suggests_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    message = r"^pretty_midi's soundfont TimGM6mb\.sf2 is not installed; name another with soundfont$"
    monkeypatch.setattr(soundfonts, "find_spec", lambda name: None)
    with pytest.raises(UnreadablePieceError, match=message):
        render_score(scale(1))


def test_a_wrong_soundfont_is_refused_even_for_an_empty_score(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePieceError, match="cannot read the soundfont"):
        render_score(make_score({}), tmp_path / "none.sf2")


@pytest.mark.parametrize(("program", "pitch"), [(70, 101), (29, 102), (41, 103), (57, 108), (60, 120), (0, 108)])
def test_no_note_is_too_high_to_come_back_from(program: int, pitch: int) -> None:
    score = Score(48)
    track = Track(program=program, is_drum=False, name="High")
    track.notes.append(Note(0, 24, pitch, 90))
    score.tracks.append(track)
    before = score.copy()
    waveform = render_score(score)
    assert np.abs(waveform.samples).max() > 0
    assert score == before
