"""The performance vocabulary of 388 ids: encoding of scores, exact to ten milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_pieces import (
    DRUMS,
    band,
    domain,
    make_score,
    names,
    note_rows,
    read_performance,
    scale,
    seconds_at,
)

from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.midi.configuration import MidiConfiguration
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.midi.tempo_map import TempoMap
from muse_tokenizers.midi.tokenizer import MidiTokenizer

HALF_STEP = 0.005 + 1e-9


@pytest.fixture(scope="module")
def performance() -> MidiDomain:
    return domain("performance")


def tokens(score: Any) -> list[str]:
    performance = domain("performance")
    return names(performance, performance.tokenizer.encode(score))


def heard(score: Any) -> list[tuple[float, float, int]]:
    """(onset, end, pitch) of every note, in exact seconds, sorted."""
    return sorted(
        (float(seconds_at(score, note.time)), float(seconds_at(score, note.end)), note.pitch)
        for track in score.tracks
        if not track.is_drum
        for note in track.notes
    )


# The vocabulary


def test_there_are_388_ids_and_three_special_ones(performance: MidiDomain) -> None:
    kinds = [name.split("_")[0] for name in performance.tokenizer.vocabulary()]
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    special = {kind: counts.pop(kind) for kind in ("PAD", "BOS", "EOS")}
    assert counts == {"NoteOn": 128, "NoteOff": 128, "TimeShift": 100, "Velocity": 32}
    assert sum(counts.values()) == 388
    assert special == {"PAD": 1, "BOS": 1, "EOS": 1}
    assert performance.tokenizer.vocabulary_size == 391


def test_the_time_shifts_are_10_to_1000_milliseconds(performance: MidiDomain) -> None:
    everything = np.arange(performance.tokenizer.vocabulary_size)[:, None]
    shifts = [token for (token,) in performance.tokenizer.describe(everything) if token.kind == "time shift"]
    assert [token.label for token in shifts] == [f"{10 * step} ms" for step in range(1, 101)]
    assert [round(1000 * (token.end - token.start)) for token in shifts] == [10 * step for step in range(1, 101)]


def test_a_small_score_reads_as_expected() -> None:
    score = make_score({0: [(0, 1, 60, 63), (1, 3, 64, 127)]}, tempos=[(0, 120)])
    assert tokens(score) == [
        *("NoteOn_60", "Velocity_63", "TimeShift_1.0.50", "NoteOff_60"),
        *("NoteOn_64", "Velocity_127", "TimeShift_2.0.50", "TimeShift_1.0.50", "NoteOff_64"),
    ]


# Time


def check(score: Any) -> None:
    performance = domain("performance")
    decoded = heard(performance.tokenizer.decode(performance.tokenizer.encode(score)))
    expected = heard(score)
    assert [pitch for _, _, pitch in decoded] == [pitch for _, _, pitch in expected]
    for (onset, end, _), (wanted, wanted_end, _) in zip(decoded, expected, strict=True):
        assert abs(onset - wanted) <= HALF_STEP
        assert abs(end - wanted_end) <= max(HALF_STEP, 0.01 + onset - wanted_end)


@pytest.mark.parametrize("ticks_per_quarter", [24, 96, 220, 480, 960, 1024, 32767])
def test_time_is_right_to_ten_milliseconds_at_any_resolution(ticks_per_quarter: int) -> None:
    notes = [(i * 0.37, 0.3, 40 + i % 40, 64) for i in range(120)]
    check(make_score({0: notes}, ticks_per_quarter=ticks_per_quarter, tempos=[(0, 97.3)]))


def test_time_is_right_under_many_changes_of_tempo_and_does_not_drift() -> None:
    random = np.random.default_rng(0)
    tempos = [(i / 4, float(random.uniform(30, 250))) for i in range(2000)]
    notes = [(i * 5 / 2, 0.5, 40 + i % 40, 64) for i in range(200)]
    check(make_score({0: notes}, ticks_per_quarter=960, tempos=tempos))


def test_long_silences_keep_their_length() -> None:
    notes = [(0.003, 0.5, 60, 64), (7200.123, 0.25, 61, 64), (7204.7, 0.25, 60, 64)]
    check(make_score({0: notes}, ticks_per_quarter=960, tempos=[(0, 120)]))


def test_a_tempo_that_changes_in_a_note_is_heard_in_its_length() -> None:
    check(make_score({0: [(0, 8, 60, 64), (4, 2, 72, 64)]}, tempos=[(0, 120), (2, 33), (5, 240), (7, 61)]))


def test_tempo_maps_know_the_ticks_of_seconds_and_back() -> None:
    score = make_score({0: [(0, 8, 60, 64)]}, tempos=[(1, 100), (2, 33), (5, 240), (7, 61)])
    tempo = TempoMap(score)
    ticks = np.arange(0, 6000, 7)
    assert tempo.seconds(ticks).tolist() == pytest.approx([float(seconds_at(score, int(t))) for t in ticks], abs=1e-9)
    assert tempo.ticks(tempo.seconds(ticks)).tolist() == pytest.approx(ticks.tolist(), abs=1e-6)
    assert float(TempoMap(make_score({}, tempos=[])).seconds(480)) == 0.5


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    notes=st.lists(
        st.tuples(
            st.floats(0, 40, width=32),
            st.floats(0, 9, width=32),
            st.sampled_from([0, 60, 61, 127]),
            st.integers(1, 127),
        ),
        min_size=1,
        max_size=25,
    ),
    tempos=st.lists(st.tuples(st.floats(0, 40, width=32), st.floats(10, 400)), max_size=6).map(sorted),
    ticks_per_quarter=st.sampled_from([1, 24, 220, 480, 32767]),
    presses=st.lists(st.tuples(st.floats(0, 40), st.floats(0, 40)).map(lambda pair: tuple(sorted(pair))), max_size=4),
)
def test_any_score_becomes_ids_that_the_grammar_and_a_slow_reader_accept(
    notes: Any, tempos: Any, ticks_per_quarter: int, presses: Any
) -> None:
    performance = domain("performance")
    score = make_score({0: notes}, tempos=tempos, ticks_per_quarter=ticks_per_quarter, pedals={0: presses})
    ids = performance.tokenizer.encode(score)
    reading = read_performance(names(performance, ids))
    assert sorted(reading.notes) == note_rows(performance.tokenizer.decode(ids))
    onsets = {(note.pitch, note.time) for note in score.tracks[0].notes}
    assert len(reading.notes) <= len(onsets)
    times = [(pitch, float(seconds_at(score, tick))) for pitch, tick in onsets]
    for _, onset, _, pitch, _ in reading.notes:
        assert any(pitch == other and abs(onset / 100 - time) <= HALF_STEP for other, time in times)
    grammar = performance.grammar(performance.prompt(None).ids, 1)
    for step in ids:
        assert grammar.allowed()[0, 0, step[0]], performance.tokenizer.vocabulary()[step[0]]
        grammar.advance(step[None])
    assert grammar.complete[0]
    assert grammar.elapsed[0] == pytest.approx(max(onset + length for _, onset, length, _, _ in reading.notes) / 100)


# What becomes of the rest


def test_all_instruments_become_one_piano_and_drums_are_left_out() -> None:
    score = make_score({5: [(0, 1, 60, 63)], 40: [(0, 1, 64, 63)], DRUMS: [(0, 1, 36, 63)]})
    reading = read_performance(tokens(score))
    assert sorted(pitch for *_, pitch, _ in reading.notes) == [60, 64]
    decoded = domain("performance").tokenizer.decode(domain("performance").tokenizer.encode(score))
    assert [(track.program, track.is_drum) for track in decoded.tracks] == [(0, False)]


def test_nothing_but_drums_is_refused(performance: MidiDomain) -> None:
    message = "^the piece has nothing but drums, for which this vocabulary has no ids$"
    with pytest.raises(UnreadablePieceError, match=message):
        performance.tokenizer.encode(make_score({DRUMS: [(0, 1, 36, 63)]}))


def test_the_pedal_lengthens_the_notes_it_holds() -> None:
    score = make_score(
        {0: [(0, 1, 60, 63), (1, 1, 62, 63), (6, 1, 64, 63)]}, pedals={0: [(0.5, 1.5), (2, 5), (6.5, 6.75)]}
    )
    notes = {pitch: (onset, onset + length) for _, onset, length, pitch, _ in read_performance(tokens(score)).notes}
    assert notes == {60: (0, 75), 62: (50, 250), 64: (300, 350)}


def test_the_pedal_of_one_instrument_holds_nothing_of_another() -> None:
    score = make_score({0: [(0, 1, 60, 63)], 40: [(0, 1, 64, 63)]}, pedals={0: [(0, 4)]})
    notes = {pitch: length for _, _, length, pitch, _ in read_performance(tokens(score)).notes}
    assert notes == {60: 200, 64: 50}


def test_a_held_note_ends_where_its_pitch_is_struck_again() -> None:
    score = make_score({0: [(0, 1, 60, 63), (2, 1, 60, 63)]}, pedals={0: [(0, 8)]})
    notes = [(onset, length) for _, onset, length, _, _ in read_performance(tokens(score)).notes]
    assert notes == [(0, 100), (100, 300)]


def test_a_note_of_no_length_lasts_ten_milliseconds() -> None:
    notes = read_performance(tokens(make_score({0: [(1, 0, 60, 63)]}))).notes
    assert notes == [(0, 50, 1, 60, 63)]


def test_all_pitches_and_32_velocities_come_back(performance: MidiDomain) -> None:
    score = make_score({0: [(i, 0.5, i, 3 + 4 * (i % 32)) for i in range(128)]}, tempos=[(0, 120)])
    decoded = performance.tokenizer.decode(performance.tokenizer.encode(score))
    assert [(note.pitch, note.velocity) for note in decoded.tracks[0].notes] == [
        (i, 3 + 4 * (i % 32)) for i in range(128)
    ]


def test_the_band_is_read_the_same_by_a_slow_reader(performance: MidiDomain) -> None:
    ids = performance.tokenizer.encode(band())
    assert sorted(read_performance(names(performance, ids)).notes) == note_rows(performance.tokenizer.decode(ids))


def test_a_note_that_nothing_ends_rings_for_half_a_second(performance: MidiDomain) -> None:
    ids = performance.tokenizer.encode(scale(1))[:-1]
    decoded = performance.tokenizer.decode(ids)
    last = max(decoded.tracks[0].notes, key=lambda note: note.time)
    end = max(token.end for (token,) in performance.tokenizer.describe(ids))
    assert last.end / 100 == pytest.approx(end)
    assert sorted(read_performance(names(performance, ids)).notes) == note_rows(decoded)


def test_other_steps_of_time_work_throughout() -> None:
    coarse = MidiTokenizer.of(MidiConfiguration(scheme="performance", shift_milliseconds=20, shifts=50, velocities=8))
    ids = coarse.encode(scale())
    assert coarse.vocabulary_size == 3 + 256 + 50 + 8
    decoded = heard(coarse.decode(ids))
    for (onset, end, pitch), (wanted, wanted_end, model) in zip(decoded, heard(scale()), strict=True):
        assert pitch == model
        assert abs(onset - wanted) <= 0.01 + 1e-9
        assert abs(end - wanted_end) <= 0.01 + 1e-9
    midi = MidiDomain.of(coarse)
    grammar = midi.grammar(midi.prompt(None).ids, 1)
    for step in ids:
        assert grammar.allowed()[0, 0, step[0]]
        grammar.advance(step[None])
