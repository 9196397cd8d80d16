"""Tests of the measures: pieces made by hand have the numbers that can be counted in them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from midi_pieces import DRUMS, band, domain, make_score, scale

from muse_tokenizers.measures import CopyUnits, Histogram, Measure, Number

REMI = domain("remi")


def measure(score: Any, start: float = 0.0, end: float = 8.0, form: str = "remi") -> dict[str, Measure]:
    return domain(form).measure(score, start, end)


def copy_units(score: Any, start: float, end: float, form: str = "remi") -> CopyUnits:
    return domain(form).copy_units(domain(form).tokenizer.encode(score), start, end)


def number(score: Any, name: str, start: float = 0.0, end: float = 8.0) -> float:
    found = measure(score, start, end)[name]
    assert isinstance(found, Number)
    return found.value


def shares(score: Any, name: str, start: float = 0.0, end: float = 8.0) -> dict[str, float]:
    """The bins that are not empty."""
    found = measure(score, start, end)[name]
    assert isinstance(found, Histogram)
    return {bin_: float(share) for bin_, share in zip(found.bins, found.shares, strict=True) if share}


def quarters(*pitches: int, program: int = 0, **kwargs: Any) -> Any:
    """One pitch after another, each a beat long; a beat is half a second."""
    return make_score({program: [(beat, 1, pitch, 80) for beat, pitch in enumerate(pitches)]}, **kwargs)


def bars(*contents: str, program: int = 0) -> Any:
    """Bars of 4/4, two seconds each, by letters: equal letters are equal bars, "-" is an empty one."""
    notes = []
    for bar, letter in enumerate(contents):
        if letter != "-":
            pitch = 40 + ord(letter) - ord("a")
            notes += [(4 * bar + beat, 1, pitch + beat, 80) for beat in range(4)]
    return make_score({program: notes})


# Pitches


def test_pitch_classes_are_shares_of_the_onsets() -> None:
    score = quarters(60, 72, 64, 61)
    assert shares(score, "pitch_classes", 0, 2) == {"C": 0.5, "C#": 0.25, "E": 0.25}


def test_entropy_is_0_for_one_pitch_class_and_log_of_12_for_all() -> None:
    assert number(quarters(60, 72, 48), "pitch_class_entropy") == 0
    assert number(quarters(*range(60, 72)), "pitch_class_entropy") == pytest.approx(math.log2(12))
    assert number(quarters(60, 60, 62, 64), "pitch_class_entropy") == pytest.approx(1.5)


def test_a_scale_is_consistent_in_any_key_major_or_natural_minor() -> None:
    major, minor = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
    for root in range(60, 72):
        for steps in (major, minor):
            assert number(quarters(*(root + step for step in steps)), "scale_consistency") == pytest.approx(1)
    # Seven of the twelve pitch classes are in any major scale.
    assert number(quarters(*range(60, 72)), "scale_consistency") == pytest.approx(7 / 12)


def test_range_and_mean_are_of_the_pitches_and_not_of_the_drums() -> None:
    score = make_score({0: [(0, 1, 50, 80), (1, 1, 60, 80), (2, 1, 67, 80)], DRUMS: [(0, 1, 120, 80)]})
    assert number(score, "pitch_range") == 17
    assert number(score, "mean_pitch") == 59


def test_transposing_changes_neither_entropy_nor_range_nor_scale() -> None:
    low, high = quarters(60, 62, 64, 67, 66), quarters(67, 69, 71, 74, 73)
    for name in ("pitch_class_entropy", "pitch_range", "scale_consistency", "self_similarity"):
        assert measure(low).get(name) == measure(high).get(name)


# Drums


def test_drums_are_shares_of_the_parts_of_a_kit() -> None:
    hits = [(0, 0.1, 36, 90), (1, 0.1, 35, 90), (2, 0.1, 38, 90), (3, 0.1, 42, 90), (3.5, 0.1, 80, 90)]
    assert shares(make_score({DRUMS: hits}), "drums") == {
        "kick": 0.4,
        "snare": 0.2,
        "closed hi-hat": 0.2,
        "other": 0.2,
    }


def test_drums_alone_have_rhythm_and_no_pitch() -> None:
    found = measure(make_score({DRUMS: [(beat, 0.25, 36, 90) for beat in range(16)]}))
    assert set(found) == {
        "note_density", "longest_silence", "drums", "onset_grid", "empty_bars", "groove_consistency", "longest_loop",
        "self_similarity",
    }  # fmt: skip


def test_music_without_drums_has_no_drums() -> None:
    assert "drums" not in measure(scale())


# Time


def test_density_counts_the_onsets_of_the_window_a_second() -> None:
    score = make_score({0: [(beat, 1, 60, 80) for beat in range(8)], DRUMS: [(beat, 1, 36, 80) for beat in range(8)]})
    assert number(score, "note_density", 0, 4) == 4
    assert number(score, "note_density", 0, 8) == 2
    assert number(score, "note_density", 3.9, 4.9) == 0


def test_a_window_includes_its_start_and_excludes_its_end() -> None:
    score = quarters(60, 62, 64, 65)
    assert shares(score, "pitch_classes", 0.5, 1.5) == {"D": 0.5, "E": 0.5}
    # A split point and an onset may be counted along different ways, and be off by less than anyone can play.
    assert shares(score, "pitch_classes", 0.5 + 1e-4, 1.5 + 1e-4) == {"D": 0.5, "E": 0.5}


def test_seconds_follow_the_tempos() -> None:
    score = quarters(60, 62, 64, 65, tempos=[(0, 60), (2, 120)])
    assert shares(score, "pitch_classes", 0, 2) == {"C": 0.5, "D": 0.5}
    assert shares(score, "pitch_classes", 2, 3) == {"E": 0.5, "F": 0.5}


def test_silence_is_the_longest_at_either_edge_or_inside() -> None:
    score = make_score({0: [(2, 2, 60, 80), (3, 4, 62, 80), (10, 1, 64, 80)]})
    assert number(score, "longest_silence", 0, 3) == pytest.approx(1)
    assert number(score, "longest_silence", 0, 6) == pytest.approx(1.5)
    assert number(score, "longest_silence", 0, 20) == pytest.approx(14.5)
    assert number(score, "longest_silence", 1.2, 3.4) == 0


def test_a_note_that_began_before_the_window_still_sounds_in_it() -> None:
    score = make_score({0: [(0, 6, 60, 80), (7, 1, 60, 80)]})
    assert number(score, "longest_silence", 1, 4) == pytest.approx(0.5)


def test_the_pedal_holds_silence_off_and_drums_do_too() -> None:
    held = make_score({0: [(0, 0.5, 60, 80), (8, 1, 60, 80)]}, pedals={0: [(0, 7)]})
    assert number(held, "longest_silence", 0, 4) == pytest.approx(0.5)
    drums = make_score({0: [(0, 1, 60, 80)], DRUMS: [(beat, 1, 36, 80) for beat in range(16)]})
    assert number(drums, "longest_silence") == 0


def test_polyphony_is_over_the_time_at_which_anything_sounds() -> None:
    chord = [(0, 2, pitch, 80) for pitch in (60, 64, 67)]
    assert number(make_score({0: chord}), "polyphony") == pytest.approx(3)
    assert number(make_score({0: [*chord, (6, 2, 60, 80)]}), "polyphony") == pytest.approx(2)
    # Half of the second note lies over the first.
    assert number(make_score({0: [(0, 2, 60, 80), (1, 2, 64, 80)]}), "polyphony") == pytest.approx(4 / 3)
    assert number(make_score({0: [(0, 2, 60, 80), (4, 2, 60, 80)], DRUMS: [(0, 9, 36, 80)]}), "polyphony") == 1


# Rhythm


def test_lengths_fall_to_the_nearest_by_ratio() -> None:
    lengths = (1 / 24, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 3 / 8, 1 / 2, 2 / 3, 3 / 4, 1, 1.5, 2, 3, 4, 6, 8, 12)
    names = "1/16, 1/12, 1/8, 1/6, 1/4, 3/8, 3/8, 1/2, 3/4, 3/4, 1, 3/2, 2, 3, 4, 6, 8, 8"
    for length, name in zip(lengths, names.split(", "), strict=True):
        assert shares(make_score({0: [(0, length, 60, 80)]}), "note_lengths") == {name: 1.0}


def test_the_length_of_a_drum_means_nothing() -> None:
    score = make_score({0: [(0, 1, 60, 80)], DRUMS: [(0, 4, 36, 80)]})
    assert shares(score, "note_lengths") == {"1": 1.0}


def test_onsets_are_counted_from_the_bar_line() -> None:
    score = make_score({0: [(0, 1, 60, 80), (1.5, 1, 60, 80), (2 + 1 / 3, 1, 60, 80), (3.25, 1, 60, 80)]})
    assert shares(score, "onset_grid") == {"0/24": 0.25, "12/24": 0.25, "8/24": 0.25, "6/24": 0.25}
    # Bars of 5/8: every other bar line stands between two quarters.
    uneven = make_score({0: [(2.5 * bar, 1, 60, 80) for bar in range(4)]}, signatures=[(0, 5, 8)])
    assert shares(uneven, "onset_grid") == {"0/24": 1.0}


def test_empty_bars_are_shares_of_the_whole_bars() -> None:
    assert number(bars("a", "-", "b", "-"), "empty_bars") == 0.5
    assert number(bars("a", "-", "b", "-"), "empty_bars", 0, 7.9) == pytest.approx(1 / 3)
    # What comes after the last note is empty.
    assert number(bars("a"), "empty_bars", 0, 8) == 0.75


def test_bars_follow_the_time_signatures() -> None:
    score = make_score({0: [(0, 1, 60, 80)]}, signatures=[(0, 3, 4), (6, 6, 8), (9, 4, 4)])
    # 0, 3, 6, 9 and 13 beats are bar lines, so three and a half bars lie in six seconds.
    assert number(score, "empty_bars", 0, 6) == pytest.approx(2 / 3)
    assert number(score, "empty_bars", 0, 6.5) == pytest.approx(3 / 4)


def test_a_window_shorter_than_a_bar_has_no_bars() -> None:
    found = measure(scale(), 0, 1.5)
    assert {"empty_bars", "longest_loop", "groove_consistency", "self_similarity"}.isdisjoint(found)


def test_groove_is_consistent_where_rhythms_are_whatever_the_pitches() -> None:
    assert number(bars("a", "f", "c", "k"), "groove_consistency") == 1
    # Of 96 steps in a bar, the second bar has one onset more.
    notes = [(beat, 1, 60, 80) for beat in range(8)]
    score = make_score({0: [*notes, (4.5, 0.5, 72, 80)]})
    assert number(score, "groove_consistency", 0, 4) == pytest.approx(1 - 1 / 96)


# Repetition


@pytest.mark.parametrize(
    ("music", "loop"),
    [
        ("a", 0),
        ("ab", 0),
        ("aa", 1),
        ("aaaaaa", 5),
        ("ababab", 4),
        ("abcdabcd", 4),
        ("abcdabcdabx", 6),
        ("abcdeabcde", 0),
        ("aabb", 1),
        ("xaaay", 2),
        ("----", 0),
        ("a-----", 0),
        ("a-a-a-", 4),
        ("aa----", 1),
    ],
)
def test_loops_are_bars_that_equal_the_one_a_period_before(music: str, loop: int) -> None:
    assert number(bars(*music), "longest_loop", 0, 2 * len(music)) == loop


def test_a_loop_is_of_equal_onsets_pitches_and_instruments_and_not_of_loudness() -> None:
    def twice(second: tuple[float, float, int, int], program: int = 0) -> float:
        first, other = [(0.0, 1.0, 60, 80)], [second]
        score = make_score({0: first + other} if program == 0 else {0: first, program: other})
        return number(score, "longest_loop", 0, 4)

    assert twice((4, 1, 60, 80)) == 1
    assert twice((4, 0.5, 60, 20)) == 1
    assert twice((4, 1, 61, 80)) == 0
    assert twice((4.5, 1, 60, 80)) == 0
    assert twice((4, 1, 60, 80), program=40) == 0


@pytest.mark.parametrize(("altered", "loop"), [(0, 1), (1, 1), (2, 0)])
def test_bars_that_differ_in_a_tenth_of_their_notes_loop_all_the_same(altered: int, loop: int) -> None:
    notes = [(place / 2, 0.5, 60 + place, 80) for place in range(8)]
    notes += [(4 + place / 2, 0.5, 60 + place + 20 * (place < altered), 80) for place in range(8)]
    assert number(make_score({0: notes}), "longest_loop", 0, 4) == loop


def test_loops_outside_the_window_do_not_count() -> None:
    assert number(bars(*"aaaaaa"), "longest_loop", 4, 8) == 1


def test_self_similarity_is_1_for_repetition_and_0_for_nothing_shared() -> None:
    assert number(bars(*"abab"), "self_similarity", 0, 8) == pytest.approx(2 / 3)
    assert number(bars(*"aaaa"), "self_similarity", 0, 8) == 1
    assert number(bars(*"afkp"), "self_similarity", 0, 8) == 0
    assert number(bars(*"a-a-"), "self_similarity", 0, 8) == 1
    assert "self_similarity" not in measure(bars(*"a---"))
    # Three of the five notes that either bar has.
    notes = [(beat, 1, 60 + beat, 80) for beat in range(4)] + [(4 + beat, 1, 60 + beat, 80) for beat in range(3)]
    score = make_score({0: [*notes, (7, 1, 70, 80)]})
    assert number(score, "self_similarity", 0, 4) == pytest.approx(3 / 5)


# Windows without anything, and the other form


def test_a_window_without_notes_is_silent_and_empty() -> None:
    found = measure(scale(bars=2), 20, 28)
    assert set(found) == {"note_density", "longest_silence", "empty_bars", "longest_loop"}
    assert found["longest_silence"] == Number(value=8.0, unit="s")
    assert number(scale(bars=2), "empty_bars", 20, 28) == 1


def test_every_histogram_sums_to_1_and_has_a_name_a_bin() -> None:
    for start in np.arange(0, 20, 0.7):
        for found in measure(band(), start, start + 5).values():
            if isinstance(found, Histogram):
                assert len(found.bins) == len(set(found.bins)) == len(found.shares)
                assert found.shares.sum() == pytest.approx(1)
            else:
                assert math.isfinite(found.value)


def test_a_performance_has_no_beats() -> None:
    found = measure(scale(), form="performance")
    assert {"note_lengths", "onset_grid", "empty_bars", "longest_loop", "groove_consistency"}.isdisjoint(found)
    assert found["note_density"] == Number(value=2.0, unit="notes/s", floor=0.1)
    assert np.isnan(copy_units(scale(), 0, 8, "performance").places[:, 1]).all()


# What copies are counted in


def test_a_note_is_numbered_by_interval_and_step() -> None:
    score = make_score({0: [(0, 1, 60, 80), (1, 1, 64, 80), (1, 1, 67, 80), (1.5, 1, 55, 80), (40, 1, 55, 80)]})
    first, *others = copy_units(score, 0, 60).numbers.tolist()
    assert first == 0
    assert [divmod(other - 1, 256) for other in others] == [(24, 132), (0, 131), (12, 116), (384, 128)]


def test_copies_survive_transposition_tempo_place_instrument_and_ticks() -> None:
    pitches = (60, 64, 67, 65, 62)
    plain = copy_units(quarters(*pitches), 0, 60).numbers
    assert plain.dtype == np.int64
    for other in (
        quarters(*(pitch + 5 for pitch in pitches)),
        quarters(*pitches, program=40),
        quarters(*pitches, tempos=[(0, 77), (2, 90)]),
        quarters(*pitches, ticks_per_quarter=96),
        make_score({0: [(3 + beat, 0.5, pitch, 30) for beat, pitch in enumerate(pitches)]}),
        make_score({0: [(beat, 1, p, 80) for beat, p in enumerate(pitches)], DRUMS: [(0.5, 1, 36, 80)]}),
    ):
        assert copy_units(other, 0, 60).numbers.tolist() == plain.tolist()


def test_places_are_seconds_and_bars_of_each_note() -> None:
    score = make_score({0: [(0, 1, 60, 80), (3, 1, 62, 80), (4.5, 1, 62, 80)]}, signatures=[(0, 3, 4)])
    assert copy_units(score, 0, 60).places.tolist() == [[0, 0], [1.5, 1], [2.25, 1.5]]
    assert copy_units(score, 1, 2).places.tolist() == [[1.5, 1]]


def test_drums_alone_have_nothing_to_copy() -> None:
    score = make_score({DRUMS: [(0, 1, 36, 80), (1, 1, 38, 80)]})
    assert copy_units(score, 0, 8).numbers.shape == (0,)
    assert copy_units(score, 0, 8).places.shape == (0, 2)


@pytest.mark.parametrize("form", ["remi", "performance"])
def test_every_note_has_one_starting_id(form: str) -> None:
    midi = domain(form)
    for score in (scale(), band()):
        ids = midi.tokenizer.encode(score)
        notes = {token.note for step in midi.tokenizer.describe(ids) for token in step if token.note is not None}
        assert int(midi.note_starts()[ids].sum()) == len(notes)
