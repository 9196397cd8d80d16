"""The REMI vocabulary of bars and positions: encoding of scores, and round trips."""

from __future__ import annotations

from fractions import Fraction
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
    pedal_rows,
    program_of,
    read_remi,
    scale,
    seconds_at,
    signature_rows,
    tempo_rows,
)
from symusic import Note

from muse_tokenizers.midi.configuration import MidiConfiguration
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.midi.tokenizer import MidiTokenizer
from muse_tokenizers.midi.vocabulary import make_vocabulary


@pytest.fixture(scope="module")
def remi() -> MidiDomain:
    return domain("remi")


def tokens(score: Any) -> list[str]:
    remi = domain("remi")
    return names(remi, remi.tokenizer.encode(score))


# The vocabulary


def test_all_pitches_programs_and_pedals_have_ids(remi: MidiDomain) -> None:
    vocabulary = set(remi.tokenizer.vocabulary())
    assert {f"{kind}_{pitch}" for kind in ("Pitch", "PitchDrum") for pitch in range(128)} <= vocabulary
    programs = {f"{kind}_{program}" for kind in ("Program", "Pedal", "PedalOff") for program in range(-1, 128)}
    assert programs <= vocabulary


def test_the_first_ids_are_special_and_the_order_is_that_of_the_ids(remi: MidiDomain) -> None:
    assert remi.tokenizer.vocabulary()[:3] == ["PAD_None", "BOS_None", "EOS_None"]
    assert (remi.tokenizer.pad, remi.tokenizer.begin, remi.tokenizer.end) == (0, 1, 2)


def test_a_vocabulary_knows_its_kinds_and_numbers() -> None:
    class Few:
        vocab = {"Bar_None": 1, "PAD_None": 0, "Pitch_60": 2, "Pitch_7": 3}  # noqa: RUF012

    vocabulary = make_vocabulary(Few())  # type: ignore[arg-type]
    assert vocabulary.names == ("PAD_None", "Bar_None", "Pitch_60", "Pitch_7")
    assert vocabulary.ids("Pitch").tolist() == [2, 3]
    assert vocabulary.numbers("Pitch") == {2: 60, 3: 7}
    assert len(vocabulary) == 4


# What a score becomes


def test_a_small_score_reads_as_expected() -> None:
    score = make_score(
        {0: [(0, 1, 60, 63), (1, 0.5, 64, 63)], DRUMS: [(1, 0.25, 36, 127)]},
        tempos=[(0, 120), (1, 60)],
        signatures=[(0, 3, 4)],
        pedals={0: [(0, 1)]},
    )
    assert tokens(score) == [
        *("Bar_None", "TimeSig_3/4", "Position_0", "Tempo_120.0", "Pedal_0"),
        *("Program_0", "Pitch_60", "Velocity_63", "Duration_1.0.12"),
        *("Position_24", "Tempo_60.0", "PedalOff_0", "Pitch_64", "Velocity_63", "Duration_0.12.24"),
        *("Program_-1", "PitchDrum_36", "Velocity_127", "Duration_0.6.24"),
    ]


def test_notes_on_the_grid_survive_a_round_trip(remi: MidiDomain) -> None:
    notes = [(i / 24, 1 / 24, i, 3 + 4 * (i % 32)) for i in range(128)]
    notes += [(6 + i / 12, 1 + i / 12, 60 + i, 127) for i in range(12)] + [(9, 12, 20, 63), (9.5, 7.5, 21, 63)]
    score = make_score(
        {0: notes, 127: notes, DRUMS: notes},
        ticks_per_quarter=48,
        tempos=[(0, 120), (2, 20), (5, 260), (8, 124)],
        pedals={0: [(0, 3), (3.5, 8)], 127: [(1, 2)]},
    )
    again = remi.tokenizer.decode(remi.tokenizer.encode(score))
    assert note_rows(again) == note_rows(score)
    assert tempo_rows(again) == tempo_rows(score)
    assert pedal_rows(again) == pedal_rows(score)
    assert signature_rows(again) == [(0, 4, 4)]


def test_all_128_pitches_come_back_on_every_instrument(remi: MidiDomain) -> None:
    score = make_score(
        {program: [(pitch, 1, pitch, 63) for pitch in range(128)] for program in (0, 9, 64, 127, DRUMS)},
        ticks_per_quarter=48,
    )
    assert note_rows(remi.tokenizer.decode(remi.tokenizer.encode(score))) == note_rows(score)


def test_triplets_are_exact(remi: MidiDomain) -> None:
    third = Fraction(1, 3)
    score = make_score({0: [(i * third, third, 60, 63) for i in range(12)]}, ticks_per_quarter=480)
    again = remi.tokenizer.decode(remi.tokenizer.encode(score))
    assert [note.time for note in again.tracks[0].notes] == [16 * i for i in range(12)]
    assert {note.duration for note in again.tracks[0].notes} == {16}


@pytest.mark.parametrize(
    ("beats", "unit", "written"),
    [
        *((2, 2, "4/4"), (3, 2, "6/4"), (1, 1, "4/4"), (6, 8, "6/8"), (12, 16, "6/8"), (3, 16, None), (6, 16, "3/8")),
        *((24, 32, "6/8"), (4, 4, "4/4"), (12, 8, "12/8"), (1, 8, "1/8"), (5, 16, None), (13, 4, None)),
    ],
)
def test_bars_keep_their_length_whatever_their_unit(beats: int, unit: int, written: str | None) -> None:
    length = 4 * beats / unit
    score = make_score({0: [(i * length, length / 2, 60, 63) for i in range(4)]}, signatures=[(0, beats, unit)])
    found = tokens(score)
    if written is None:
        # What cannot be written over 4 or 8 is left in common time; no note is lost or moved.
        assert set(found) & {"TimeSig_4/4"}
        assert len(read_remi(found).notes) == 4
    else:
        assert [found[i + 1] for i, name in enumerate(found) if name == "Bar_None"] == [f"TimeSig_{written}"] * 4
        assert [tick for tick, _, _ in read_remi(found).bars] == [round(48 * length * i) for i in range(4)]


@pytest.mark.parametrize("ticks_per_quarter", [24, 96, 220, 480, 960, 1024, 32767])
def test_bars_change_where_the_file_says_at_any_resolution(ticks_per_quarter: int) -> None:
    bars = [(4, 4), (7, 8), (2, 2), (5, 8), (3, 4), (6, 8), (1, 8), (12, 16), (4, 4)]
    starts = np.concatenate([[0], np.cumsum([4 * beats / unit for beats, unit in bars])])
    score = make_score(
        {0: [(start, 0.5, 60, 63) for start in starts[:-1]]},
        ticks_per_quarter=ticks_per_quarter,
        signatures=[(start, beats, unit) for start, (beats, unit) in zip(starts, bars, strict=False)],
    )
    reading = read_remi(tokens(score))
    assert [tick for tick, _, _ in reading.bars] == [round(48 * start) for start in starts[:-1]]
    assert [onset for _, onset, _, _, _ in reading.notes] == [tick for tick, _, _ in reading.bars]


def test_a_time_signature_inside_a_bar_waits_for_the_next_bar() -> None:
    score = make_score({0: [(i, 1, 60, 63) for i in range(12)]}, signatures=[(0, 4, 4), (5, 3, 4)])
    assert read_remi(tokens(score)).bars == [(0, 4, 4), (192, 4, 4), (384, 3, 4), (528, 3, 4)]


def test_a_score_without_tempo_or_signature_is_common_time_at_120() -> None:
    reading = read_remi(tokens(make_score({0: [(0, 1, 60, 63)]}, tempos=[], signatures=[])))
    assert reading.bars == [(0, 4, 4)]
    assert reading.tempos in ([], [(0, 120.0)])


def test_empty_bars_are_kept() -> None:
    assert len(read_remi(tokens(make_score({0: [(0, 1, 60, 63), (40, 1, 60, 63)]}))).bars) == 11


def test_tracks_of_one_program_become_one_instrument_and_play_a_pitch_once(remi: MidiDomain) -> None:
    score = make_score({40: [(0, 2, 60, 60), (4, 1, 60, 60)]})
    score.tracks.extend(make_score({40: [(0, 1, 60, 60), (1, 3, 60, 60)]}).tracks)
    again = remi.tokenizer.decode(remi.tokenizer.encode(score))
    assert [program_of(track) for track in again.tracks] == [40]
    # The longer of two that begin together, cut where the pitch is struck again.
    assert [(onset // 48, length // 48) for _, onset, length, _, _ in note_rows(again)] == [(0, 1), (1, 3), (4, 1)]


def test_drums_of_several_tracks_are_one_kit_of_drum_pitches() -> None:
    score = make_score({DRUMS: [(0, 1, 36, 63)]})
    score.tracks.extend(make_score({DRUMS: [(1, 1, 38, 63)]}).tracks)
    score.tracks[1].program = 25
    found = [name for name in tokens(score) if name.startswith(("Program", "Pitch"))]
    assert found == ["Program_-1", "PitchDrum_36", "PitchDrum_38"]


def test_a_note_of_no_length_becomes_the_shortest() -> None:
    score = make_score({0: [(1, 0, 60, 63), (2, 1, 60, 63)]})
    assert [(onset, length) for _, onset, length, _, _ in read_remi(tokens(score)).notes] == [(48, 2), (96, 48)]


def test_a_note_longer_than_all_lengths_becomes_the_longest() -> None:
    (note,) = read_remi(tokens(make_score({0: [(0, 100, 60, 63)]}))).notes
    assert note[2] == 48 * 12


def test_a_pedal_is_never_down_for_no_time() -> None:
    score = make_score({0: [(0, 1, 60, 63)]}, ticks_per_quarter=960, pedals={0: [(0.101, 0.102), (0.5, 0.5), (2, 3)]})
    assert all(up is not None and up > down for _, down, up in read_remi(tokens(score)).presses)


def test_the_pedal_of_an_instrument_without_notes_is_left_out() -> None:
    score = make_score({0: [(0, 1, 60, 63)], 7: []}, pedals={7: [(0, 4)], 0: [(1, 2)]})
    assert read_remi(tokens(score)).presses == [(0, 48, 96)]


def test_the_band_is_read_the_same_by_a_slow_reader(remi: MidiDomain) -> None:
    ids = remi.tokenizer.encode(band())
    reading, decoded = read_remi(names(remi, ids)), remi.tokenizer.decode(ids)
    assert sorted(reading.notes) == note_rows(decoded)
    assert sorted(reading.presses) == pedal_rows(decoded)
    assert [(tick, round(60e6 / tempo)) for tick, tempo in reading.tempos] == tempo_rows(decoded)
    assert reading.bars[0] == signature_rows(decoded)[0]
    changes = [bar for before, bar in zip(reading.bars, reading.bars[1:], strict=False) if before[1:] != bar[1:]]
    assert changes == signature_rows(decoded)[1:]


@pytest.mark.parametrize("ticks_per_quarter", [24, 96, 220, 480, 960, 1024, 32767])
def test_the_band_is_the_same_at_any_resolution(ticks_per_quarter: int) -> None:
    reading, model = read_remi(tokens(band(ticks_per_quarter))), read_remi(tokens(band(480)))
    assert reading.bars == model.bars
    assert [note[:2] + note[3:] for note in reading.notes] == [note[:2] + note[3:] for note in model.notes]


def test_onsets_do_not_drift_over_half_an_hour(remi: MidiDomain) -> None:
    beats = [i * 7 / 5 + (i % 3) / 9 for i in range(2500)]
    score = make_score({0: [(beat, 0.25, 60 + i % 2, 63) for i, beat in enumerate(beats)]}, ticks_per_quarter=960)
    again = remi.tokenizer.decode(remi.tokenizer.encode(score))
    off = [note.time / 48 - beat for note, beat in zip(again.tracks[0].notes, beats, strict=True)]
    assert max(map(abs, off)) <= 1 / 48 + 1e-3


def test_tempos_come_back_to_the_nearest_of_their_bins(remi: MidiDomain) -> None:
    score = make_score(
        {0: [(i, 1, 60, 63) for i in range(8)]}, tempos=[(0, 121), (2, 61.9), (4, 300), (6, 5)], ticks_per_quarter=48
    )
    assert tempo_rows(remi.tokenizer.decode(remi.tokenizer.encode(score))) == [
        (48 * beat, round(60e6 / tempo)) for beat, tempo in [(0, 120), (2, 60), (4, 260), (6, 20)]
    ]


def test_seconds_of_the_ids_are_those_of_the_decoded_score(remi: MidiDomain) -> None:
    ids = remi.tokenizer.encode(band())
    decoded = remi.tokenizer.decode(ids)
    pitches = [step[0] for step in remi.tokenizer.describe(ids) if step[0].kind in ("pitch", "drum")]
    for (_, onset, length, _, _), token in zip(read_remi(names(remi, ids)).notes, pitches, strict=True):
        assert token.start == pytest.approx(float(seconds_at(decoded, onset)), abs=1e-9)
        assert token.end == pytest.approx(float(seconds_at(decoded, onset + length)), abs=1e-9)


# Any score


beats = st.integers(0, 24 * 24).map(lambda steps: steps / 24) | st.floats(0, 24, width=32)
note = st.tuples(beats, st.floats(0, 14, width=32), st.sampled_from([0, 60, 61, 127]), st.integers(1, 127))
bars = st.tuples(st.floats(0, 24, width=32), st.integers(1, 16), st.sampled_from([1, 2, 4, 8, 16, 32]))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    notes=st.dictionaries(st.sampled_from([0, 40, DRUMS]), st.lists(note, min_size=1, max_size=12), min_size=1),
    ticks_per_quarter=st.sampled_from([1, 24, 96, 220, 480, 1024, 32767]),
    signatures=st.lists(bars, max_size=4).map(sorted),
    tempos=st.lists(st.tuples(st.floats(0, 24, width=32), st.floats(4, 500)), max_size=4).map(sorted),
    presses=st.lists(st.tuples(beats, beats).map(lambda pair: tuple(sorted(pair))), max_size=5),
)
def test_any_score_becomes_ids_that_the_grammar_and_a_slow_reader_accept(
    notes: Any, ticks_per_quarter: int, signatures: Any, tempos: Any, presses: Any
) -> None:
    remi = domain("remi")
    score = make_score(
        notes,
        ticks_per_quarter=ticks_per_quarter,
        signatures=signatures,
        tempos=tempos,
        pedals=dict.fromkeys(notes, presses),
    )
    ids = remi.tokenizer.encode(score)
    reading = read_remi(names(remi, ids))
    assert sorted(reading.notes) == note_rows(remi.tokenizer.decode(ids))
    assert {program for program, *_ in reading.notes} == set(notes)
    grammar = remi.grammar(remi.prompt(None).ids, 1)
    for step in ids:
        assert grammar.allowed()[0, 0, step[0]], remi.tokenizer.vocabulary()[step[0]]
        grammar.advance(step[None])
    assert grammar.elapsed[0] <= float(seconds_at(remi.tokenizer.decode(ids), 10**6))


def test_notes_of_one_pitch_never_overlap_after_rounding(remi: MidiDomain) -> None:
    score = make_score({}, ticks_per_quarter=960)
    score = scale(1, ticks_per_quarter=960)
    random = np.random.default_rng(0)
    for time in range(0, 96_000, 97):
        score.tracks[0].notes.append(Note(time, int(random.integers(1, 4000)), 60 + time % 2, 64))
    read_remi(names(remi, remi.tokenizer.encode(score)))


# Other configurations


def test_a_coarser_configuration_works_throughout() -> None:
    coarse = MidiTokenizer.of(
        MidiConfiguration(
            positions_per_beat=12,
            velocities=8,
            durations=((0, 2, 6), (2, 8, 1)),
            tempos=9,
            tempo_range=(40, 200),
            time_signatures=((3, 4), (4, 4)),
        )
    )
    ids = coarse.encode(scale())
    assert coarse.vocabulary_size < domain("remi").tokenizer.vocabulary_size
    assert coarse.encode(coarse.decode(ids)).tolist() == ids.tolist()
    midi = MidiDomain.of(coarse)
    grammar = midi.grammar(midi.prompt(None).ids, 1)
    for step in ids:
        assert grammar.allowed()[0, 0, step[0]]
        grammar.advance(step[None])
    assert coarse.fingerprint() != domain("remi").tokenizer.fingerprint()
    prompt = midi.prompt(scale(), 5.0)
    assert prompt.split_point == 4.0
    assert note_rows(midi.join(prompt, ids[:0])) == note_rows(prompt.piece)


def test_signatures_that_a_configuration_lacks_are_doubled_where_it_has_that() -> None:
    some = MidiDomain.of(MidiTokenizer.of(MidiConfiguration(time_signatures=((4, 4), (6, 8)))))
    score = make_score({0: [(0, 1, 60, 63), (6, 1, 60, 63)]}, signatures=[(0, 3, 4)])
    assert read_remi(names(some, some.tokenizer.encode(score))).bars == [(0, 6, 8), (144, 6, 8), (288, 6, 8)]
