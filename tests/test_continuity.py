"""Tests of comparing continuations with the true ones: features computed by hand, and the printed table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import RunCommand
from symusic import Note, Score, Tempo, Track

from muse_shortcut.evaluation.classifier import classification_accuracy
from muse_shortcut.evaluation.continuity import Measured, table
from muse_tokenizers.midi.continuity import FEATURES, Value, difference, features, krumhansl_key
from muse_tokenizers.midi.note_table import NoteTable, note_table

BY_NAME = {feature.name: feature for feature in FEATURES}
Struck = tuple[float, float, int, int]
"""Onset and length in seconds, pitch, velocity."""


def _score(notes: list[Struck], *, program: int = 0, drums: bool = False, bpm: float = 120.0) -> Score:
    """At 480 ticks per quarter; times are seconds at `bpm`."""
    score = Score(480)
    score.tempos.append(Tempo(0, bpm))
    track = Track(program=program, is_drum=drums, name="")
    per_second = 480 * bpm / 60
    for onset, length, pitch, velocity in notes:
        track.notes.append(Note(round(onset * per_second), round(length * per_second), pitch, velocity))
    score.tracks.append(track)
    return score


def _table(notes: list[Struck], **kind: bool | int) -> NoteTable:
    return note_table(_score(notes, **kind))  # type: ignore[arg-type]


SCALE = [(0.5 * n, 0.5, 60 + step, 50 + n) for n, step in enumerate((0, 2, 4, 5, 7, 9, 11, 12))]


def test_times_are_those_of_the_tempo_map() -> None:
    score = _score([(0.0, 1.0, 60, 80), (3.0, 1.0, 62, 80)])
    score.tempos.append(Tempo(960, 60.0))
    notes = note_table(score)
    # Two quarters at 120, then four at 60.
    assert notes.onset.tolist() == [0.0, 5.0]
    assert notes.end.tolist() == [1.0, 7.0]
    assert notes.tempo_changes.tolist() == [0.0, 1.0]


def test_a_segment_begins_at_zero_and_is_repeated_to_its_end() -> None:
    notes = _table(SCALE)
    segment = notes.between(1.0, 2.0)
    assert segment.onset.tolist() == [0.0, 0.5]
    assert segment.pitch.tolist() == [64, 65]
    assert segment.repeated(1.0, 2.5).pitch.tolist() == [64, 65, 64, 65, 64]
    assert segment.repeated(1.0, 2.5).onset.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_features_of_a_scale_equal_those_computed_by_hand() -> None:
    notes = _table(SCALE)
    found = features(notes, notes, 4.0)
    assert found["velocity"] == pytest.approx(53.5)
    assert found["pitch"] == pytest.approx(np.mean([60, 62, 64, 65, 67, 69, 71, 72]))
    assert found["polyphony"] == pytest.approx(1.0)
    assert found["density"] == pytest.approx(2.0)
    assert found["pitch classes shared with the prompt"] == pytest.approx(1.0)
    assert found["key as the prompt's"] == 1.0
    assert found["velocity drift"] == pytest.approx(120.0)
    assert found["density drift"] == 0.0
    assert "fewest pitches in 10 s" not in found
    assert "drums shared with the prompt" not in found


def test_polyphony_counts_keys_held_over_the_time_in_which_any_is() -> None:
    chords = [(0.0, 1.0, 60, 80), (0.0, 1.0, 64, 80), (2.0, 1.0, 60, 80)]
    notes = _table(chords)
    assert features(notes, notes, 4.0)["polyphony"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("root", "steps", "mode"), [(0, (0, 2, 4, 5, 7, 9, 11), "major"), (9, (0, 2, 3, 5, 7, 8, 11), "minor")]
)
def test_the_key_is_that_of_the_scale_whose_tonic_and_fifth_sound_longest(
    root: int, steps: tuple[int, ...], mode: str
) -> None:
    lengths = {0: 4.0, steps[2]: 2.0, 7: 3.0}
    notes = [(float(n), lengths.get(step, 1.0), 48 + root + step, 80) for n, step in enumerate(steps)]
    assert krumhansl_key(_table(notes)) == (root, mode)


def test_ten_seconds_of_one_note_in_lively_music_are_a_stall() -> None:
    lively = _table([(0.5 * n, 0.4, 60 + n, 80) for n in range(20)])
    still = _table([(0.5 * n, 0.4, 60 + n % 2, 80) for n in range(60)])
    assert features(still, lively, 30.0)["stalls"] == 1.0
    assert features(still, still, 30.0)["stalls"] == 0.0
    # The lively part of a segment does not hide the part that stands still.
    mixed = _table([(0.5 * n, 0.4, 60 + (n if n < 20 else 0), 80) for n in range(60)])
    assert features(mixed, lively, 30.0)["fewest pitches in 10 s"] == 1.0


def test_drums_count_as_no_pitch_and_are_compared_with_the_prompts_kit() -> None:
    kit = _table([(0.5 * n, 0.1, 36 if n % 2 else 42, 80) for n in range(8)], drums=True)
    half = _table([(0.5 * n, 0.1, 36 if n % 2 else 51, 80) for n in range(8)], drums=True)
    found = features(half, kit, 4.0)
    assert found["drums shared with the prompt"] == pytest.approx(0.5)
    assert "pitch" not in found


def test_instruments_that_fall_silent_and_appear_are_counted_by_family() -> None:
    piano, strings = _table(SCALE), _table(SCALE, program=40)
    found = features(strings, piano, 4.0)
    assert (found["families that fall silent"], found["families that appear"]) == (1.0, 1.0)


def _parts(*parts: list[Struck]) -> NoteTable:
    """Each part a piano of its own."""
    score = _score(parts[0])
    for notes in parts[1:]:
        score.tracks.append(_score(notes).tracks[0])
    return note_table(score)


def test_parts_of_one_program_are_counted_apart() -> None:
    high, low = SCALE, [(0.0, 0.5, 40, 60), (3.0, 0.5, 41, 60)]
    prompt = _parts(high, low)
    found = features(prompt, prompt, 4.0)
    assert np.sort(np.asarray(found["parts"]))[-2:].tolist() == [0.2, 0.8]
    # The low part rests for 2.5 s, and enters again: once in 4 s.
    assert found["entries"] == pytest.approx(15.0)
    alone = features(_table(SCALE), prompt, 4.0)
    assert (alone["parts that fall silent"], alone["parts that appear"]) == (1.0, 0.0)
    third = features(_parts(high, low, SCALE), prompt, 4.0)
    assert (third["parts that fall silent"], third["parts that appear"]) == (0.0, 1.0)
    assert "parts" not in features(prompt, _table(SCALE), 4.0)


def test_a_drum_pattern_is_kept_only_where_its_hits_keep_their_places_in_the_bar() -> None:
    """At 120 BPM a bar lasts 2 s and a sixteenth of it 0.125 s."""
    beat = _table([(0.5 * n, 0.1, 36 if n % 2 == 0 else 38, 80) for n in range(16)], drums=True)
    late = _table([(0.5 * n + 0.01, 0.1, 36 if n % 2 == 0 else 38, 80) for n in range(16)], drums=True)
    turned = _table([(0.5 * n, 0.1, 38 if n % 2 == 0 else 36, 80) for n in range(16)], drums=True)
    name = "drum pattern shared with the prompt"
    assert features(late, beat, 8.0)[name] == pytest.approx(1.0)
    assert features(turned, beat, 8.0)[name] == 0.0
    assert features(turned, beat, 8.0)["drums shared with the prompt"] == pytest.approx(1.0)
    assert features(_table(SCALE), beat, 8.0)[name] == 0.0


def test_differences_are_zero_for_equal_values_and_grow_with_the_feature() -> None:
    density, intervals = BY_NAME["density"], BY_NAME["inter-onset intervals"]
    assert difference(density, 4.0, 2.0) == pytest.approx(np.log(2))
    even = np.array([0.5, 0.5])
    assert difference(intervals, even, even) == 0.0
    assert difference(intervals, even, np.array([1.0, 0.0])) == pytest.approx(0.5)


def _measured(velocities: dict[str, float], number: int) -> Measured:
    found: dict[str, dict[str, Value]] = {name: {"velocity": value} for name, value in velocities.items()}
    return Measured(name=f"piece {number}", sample=0, start=15.0, steps=9, features=found)


def test_pairs_are_by_piece_and_nearness_is_another_pieces_distance_less_ours() -> None:
    random = np.random.default_rng(0)
    true = random.uniform(40, 80, 30)
    measured = [
        _measured({"true": float(t), "ours": float(t + 2), "another": float(t + 10 + n % 3), "repeated": float(t)}, n)
        for n, t in enumerate(true)
    ]
    [row] = table(measured, 0)
    assert row.distances["ours"] == pytest.approx(2.0)
    assert row.nearer is not None
    assert 8.5 < row.nearer.low < 9.5


def test_flat_dynamics_are_left_out() -> None:
    measured = [_measured({"true": 80.0, "ours": 70.0, "another": 80.0, "repeated": 80.0}, n) for n in range(12)]
    assert table(measured, 0) == []


def test_a_classifier_separates_different_samples_and_not_equal_ones() -> None:
    random = np.random.default_rng(1)
    draws = random.uniform(40, 80, (40, 3))
    same = [
        _measured({"true": float(a), "ours": float(b), "another": 500.0 + float(c), "repeated": float(a)}, n)
        for n, (a, b, c) in enumerate(draws)
    ]
    assert classification_accuracy(same, "another", 0) == 1.0
    ours = classification_accuracy(same, "ours", 0)
    assert ours is not None
    assert ours < 0.8
    assert classification_accuracy(same[:5], "ours", 0) is None


def test_the_command_compares_files_and_writes_every_feature(
    run: RunCommand, random_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(3):
        notes = [(0.25 * n, 0.2, 48 + (n * (number + 3)) % 30, 60 + n % 20) for n in range(40)]
        _score(notes).dump_midi(folder / f"{number}.mid")
    (folder / "broken.mid").write_bytes(b"MThd")
    words = ("--data", folder, "--prompt-seconds", "3", "--seconds", "4", "--json", tmp_path / "found.json")
    found = run("evaluate", "midi", "--continue", "--checkpoint", random_checkpoint, *words, "--samples", "1")
    assert found.code == 0, found.err
    assert "3 continuations of 3 pieces (3 s of prompt, 4 s)" in found.out
    content = json.loads((tmp_path / "found.json").read_text())
    assert [one["piece"] for one in content["continuations"]] == ["0.mid", "1.mid", "2.mid"]
    assert set(content["continuations"][0]["features"]) == {"true", "ours", "another", "repeated"}
    assert content["classifier"] == {"ours": None, "another": None, "repeated": None}


def test_too_few_long_files_are_said(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> None:
    _score(SCALE).dump_midi(tmp_path / "short.mid")
    found = run("evaluate", "midi", "--continue", "--checkpoint", random_checkpoint, "--data", tmp_path)
    assert found.code == 2
    assert "0 of 1 file can be read and last at least 45 seconds; 2 are needed" in found.err
