"""Continuing a file: the prompt is unchanged, and the new part begins at the split point."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_pieces import (
    DRUMS,
    band,
    domain,
    grammar_of,
    grow,
    kinds,
    make_score,
    names,
    note_rows,
    pedal_rows,
    program_of,
    read_remi,
    scale,
    seconds_at,
)
from symusic import KeySignature, PitchBend, TextMeta

from muse_tokenizers.base import Ids, Prompt
from muse_tokenizers.midi.constraints import MidiConstraints

RESOLUTIONS = (24, 96, 220, 480, 960, 1024, 32767)
NAMES = ("parts", "remi", "performance")


def events(score: Any, before: int | None = None) -> dict[str, list[Any]]:
    """Everything in a score, its ticks as exact quarters; of what begins before a tick, if one is given."""
    quarter = score.ticks_per_quarter

    def taken(items: Any) -> list[Any]:
        return [item for item in items if before is None or item.time < before]

    def at(tick: int) -> Fraction:
        return Fraction(tick, quarter)

    found: dict[str, list[Any]] = {"notes": [], "pedals": [], "controls": [], "bends": []}
    for track in score.tracks:
        program = program_of(track)
        found["notes"] += [(program, at(n.time), at(n.end), n.pitch, n.velocity) for n in taken(track.notes)]
        found["pedals"] += [(program, at(p.time), at(p.end)) for p in taken(track.pedals)]
        found["controls"] += [(program, at(c.time), c.number, c.value) for c in taken(track.controls)]
        found["bends"] += [(program, at(b.time), b.value) for b in taken(track.pitch_bends)]
    for kind in ("notes", "pedals"):
        found[kind].sort()
    found["tempos"] = [(at(tempo.time), tempo.mspq) for tempo in taken(score.tempos)]
    found["signatures"] = [(at(s.time), s.numerator, s.denominator) for s in taken(score.time_signatures)]
    found["keys"] = [(at(key.time), key.key, key.tonality) for key in taken(score.key_signatures)]
    found["markers"] = [(at(marker.time), marker.text) for marker in taken(score.markers)]
    return found


def expressive(ticks_per_quarter: int = 480) -> Any:
    """A score full of what ids cannot say: half pedals, bends, odd tempos and velocities, keys, markers."""
    score = make_score(
        {
            0: [(i / 2, 0.4, 40 + i, 1 + 3 * i) for i in range(40)] + [(7, 14, 90, 77)],
            40: [(i, 1.25, 60 + i % 5, 5 + i) for i in range(20)] + [(7.5, 1, 99, 33)],
            DRUMS: [(i / 2, 0.1, 36, 99) for i in range(40)],
        },
        ticks_per_quarter=ticks_per_quarter,
        tempos=[(0, 117.3), (2, 61.7), (5, 205), (11, 90.1)],
        signatures=[(0, 4, 4), (4, 2, 2), (8, 3, 4)],
        controls={
            # Half pedals and flutter; a press that outlasts the split point at 8; what a sorted file would get wrong.
            0: [
                *((0, 64, 30), (0.5, 64, 64), (1, 64, 90), (1.5, 64, 63), (2, 64, 127), (2.5, 64, 0)),
                *((3, 101, 0), (3, 100, 0), (3, 6, 12), (3, 38, 0), (7, 64, 100), (9, 64, 70), (10, 64, 20)),
            ],
            40: [(0, 7, 100), (4, 11, 64), (4, 1, 3), (12, 7, 5)],
        },
    )
    if ticks_per_quarter == 480:
        score.tracks[1].pitch_bends.append(PitchBend(480, 100))
        score.tracks[1].pitch_bends.append(PitchBend(960, 0))
    score.key_signatures.append(KeySignature(0, 2, 0))
    score.markers.append(TextMeta(ticks_per_quarter, "theme"))
    return domain("remi").loads(domain("remi").dumps(score))


def recorded(ticks_per_quarter: int = 480) -> Any:
    """The band as it is read from a file."""
    return domain("remi").loads(domain("remi").dumps(band(ticks_per_quarter)))


def continued(
    name: str, prompt: Prompt[Any], seed: int = 0, constraints: MidiConstraints | None = None, steps: int = 150
) -> Ids:
    midi = domain(name)
    grammar = grammar_of(name, 1, constraints or MidiConstraints(seconds=1e9), prompt.ids)
    return grow(grammar, steps, seed, kinds(midi), 0.0)[0]


def late(ticks_per_quarter: int = 480) -> Any:
    """Instruments that enter in the fifth bar, with controllers and words before their notes."""
    score = make_score(
        {
            73: [(17, 1, 80, 70)],
            0: [(i, 0.9, 60 + i % 7, 80) for i in range(32)],
            40: [(20, 1, 70, 80)],
            42: [(i, 0.9, 40, 60) for i in range(20)],
        },
        ticks_per_quarter=ticks_per_quarter,
        controls={73: [(0, 7, 90)], 40: [(1, 64, 127), (2, 64, 0)]},
    )
    for number, track in enumerate(score.tracks):
        track.lyrics.append(TextMeta(ticks_per_quarter, f"la {number}"))
        track.lyrics.append(TextMeta(20 * ticks_per_quarter, "late"))
    return domain("remi").loads(domain("remi").dumps(score))


# Where a piece is cut


@pytest.mark.parametrize("seconds", [0.1, 1.9, 2.0, 2.1, 3.9, 6.0, 15.99])
def test_a_prompt_ends_at_the_last_bar_line_in_its_seconds(seconds: float) -> None:
    remi = domain("remi")
    prompt = remi.prompt(scale(8), seconds)
    # Bars of two seconds; where not even one fits, the first.
    assert prompt.split_point == max(2, 2 * int(seconds / 2))
    assert prompt.split_index == 960 * prompt.split_point
    tokens = names(remi, prompt.ids)
    assert tokens[-1] == "Bar_None"
    assert read_remi(tokens).bars == [(192 * bar, 4, 4) for bar in range(int(prompt.split_point / 2))]
    assert prompt.piece is not None
    assert max(note.time for note in prompt.piece.tracks[0].notes) < prompt.split_index


@pytest.mark.parametrize("seconds", [None, 16.0, 17.0, 1e9])
def test_a_prompt_of_a_whole_piece_ends_at_the_bar_line_after_it(seconds: float | None) -> None:
    remi = domain("remi")
    prompt = remi.prompt(scale(8), seconds)
    assert (prompt.split_point, prompt.split_index) == (16.0, 8 * 1920)
    assert prompt.ids[1:-1].tolist() == remi.tokenizer.encode(scale(8)).tolist()
    assert names(remi, prompt.ids)[-1] == "Bar_None"
    assert events(prompt.piece) == events(scale(8))


def test_bar_lines_are_found_under_changes_of_tempo_and_of_bar() -> None:
    remi, score = domain("remi"), band()
    lines = [0, 4, 8, 11, 14, 18, 22, 25, 28, 31, 34, 37, 40]
    split_points = {remi.prompt(score, float(seconds)).split_index / 480 for seconds in np.arange(0, 40, 0.1)}
    assert split_points <= {*lines[1:], 43}
    for seconds in (4.0, 7.5, 12.0):
        prompt = remi.prompt(score, seconds)
        # Tempos are told to the nearest of their bins, so seconds are right to within a few hundredths.
        assert prompt.split_point == pytest.approx(float(seconds_at(score, prompt.split_index)), rel=0.04)


def test_silence_at_the_beginning_is_no_prompt() -> None:
    remi = domain("remi")
    prompt = remi.prompt(make_score({0: [(20, 1, 60, 63), (40, 1, 60, 63)]}), 1.0)
    assert prompt.split_index == 24 * 480
    assert prompt.piece is not None
    assert prompt.piece.note_num() == 1


def test_a_performance_is_cut_where_nothing_sounds_if_that_is_near() -> None:
    performance = domain("performance")
    notes = [(0, 1, 60, 63), (2, 1, 62, 63), (4, 1, 64, 63), (4.8, 6, 65, 63)]
    prompt = performance.prompt(make_score({0: notes}), 2.1)
    assert prompt.split_point == pytest.approx(2.0)
    assert prompt.split_index == 4 * 480
    held = performance.prompt(make_score({0: [*notes, (0, 11, 40, 63)]}), 2.45)
    assert held.split_point == pytest.approx(2.4)
    assert performance.prompt(make_score({0: notes}), None).split_point == pytest.approx(5.4)
    assert performance.prompt(make_score({0: notes}), 0.001).split_point == pytest.approx(0.5)


# What stays


@pytest.mark.parametrize("ticks_per_quarter", RESOLUTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_stays_exactly_as_in_the_file(name: str, ticks_per_quarter: int) -> None:
    midi = domain(name)
    for score, seconds in ((expressive(ticks_per_quarter), 5.2), (recorded(ticks_per_quarter), 9.0)):
        prompt = midi.prompt(score, seconds)
        first = prompt.split_index
        while name == "performance" and seconds_at(score, first - 1) >= Fraction(prompt.split_point) - Fraction(
            5, 1000
        ):
            # What is early by less than half a step is told as being at the split point.
            first -= 1
        expected = events(score, first)
        for seed in range(2):
            joined = midi.join(prompt, continued(name, prompt, seed))
            factor = joined.ticks_per_quarter // ticks_per_quarter
            assert joined.ticks_per_quarter == factor * ticks_per_quarter
            for form in (joined, midi.loads(midi.dumps(joined))):
                found = events(form, prompt.split_index * factor)
                assert found == expected


@pytest.mark.parametrize("name", NAMES)
def test_notes_held_across_the_split_point_are_unchanged(name: str) -> None:
    midi = domain(name)
    score = expressive()
    prompt = midi.prompt(score, 5.2)
    split_point = Fraction(prompt.split_index, 480)
    held = {kind: [row for row in events(score)[kind] if row[1] < split_point < row[2]] for kind in ("notes", "pedals")}
    assert len(held["notes"]) >= 2
    assert len(held["pedals"]) == 1
    for seed in range(3):
        joined = midi.join(prompt, continued(name, prompt, seed))
        for form in (joined, midi.loads(midi.dumps(joined))):
            assert all(row in events(form)[kind] for kind in held for row in held[kind])
    # The pedal's controllers go with it up to its release; no other one crosses the split point.
    releases = [row for row in events(prompt.piece)["controls"] if row[1] >= split_point]
    assert releases == [row for row in events(score)["controls"] if row[2] == 64 and split_point <= row[1] <= 10]
    assert releases[-1] == (0, Fraction(10), 64, 20)


@pytest.mark.parametrize("seconds", [4.0, 9.0, None])
@pytest.mark.parametrize("piece", [late, expressive, recorded])
@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_that_went_through_a_file_is_continued_with_the_same_bytes(
    name: str, piece: Any, seconds: float | None
) -> None:
    midi = domain(name)
    prompt = midi.prompt(piece(), seconds)
    kept = midi.timed(replace(prompt, piece=midi.loads(midi.dumps(prompt.piece)), clock=None))
    ids = continued(name, prompt)
    assert midi.dumps(midi.join(kept, ids)) == midi.dumps(midi.join(prompt, ids))


def test_tracks_that_enter_after_the_split_point_are_not_in_the_prompt_but_lyrics_are() -> None:
    prompt = domain("remi").prompt(late(), 4.0)
    assert [program_of(track) for track in prompt.piece.tracks] == [0, 42]
    assert [[lyric.text for lyric in track.lyrics] for track in prompt.piece.tracks] == [
        ["la 0", "la 1", "la 2"],
        ["la 3"],
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_piece_as_a_prompt_keeps_everything(name: str) -> None:
    midi, score = domain(name), expressive()
    prompt = midi.prompt(score)
    joined = midi.join(prompt, continued(name, prompt))
    found, expected = events(joined), events(score)
    for kind in ("notes", "pedals", "bends", "keys", "markers", "controls"):
        assert [row for row in expected[kind] if row not in found[kind]] == []
    assert joined.note_num() > score.note_num()


def test_notes_less_than_half_a_position_early_belong_to_the_next_bar() -> None:
    """A chord played a hair before the bar line: the ids have it in the next bar, so the prompt is without it."""
    remi = domain("remi")
    score = scale(4, ticks_per_quarter=960)
    # A position is 40 ticks.
    early = make_score({0: [(4 - 19 / 960, 1, 90, 63), (4 - 21 / 960, 1, 91, 63)]}, ticks_per_quarter=960)
    score.tracks[0].notes.extend(early.tracks[0].notes)
    prompt = remi.prompt(score, 2.0)
    assert prompt.piece is not None
    assert {note.pitch for note in prompt.piece.tracks[0].notes} == {60, 62, 64, 65, 91}
    told = {pitch for *_, pitch, _ in read_remi(names(remi, prompt.ids)).notes}
    assert told == {60, 62, 64, 65, 91}


# What is new


@pytest.mark.parametrize("ticks_per_quarter", RESOLUTIONS)
def test_a_continuation_in_bars_begins_at_the_cut_and_keeps_its_beats(ticks_per_quarter: int) -> None:
    remi = domain("remi")
    score = scale(4, program=5, ticks_per_quarter=ticks_per_quarter)
    prompt = remi.prompt(score, 5.0)
    ids = continued("remi", prompt)
    start = 2 * 192
    joined = remi.join(prompt, ids)
    new = [row for row in events(joined)["notes"] if row[1] >= 8]
    whole = remi.tokenizer.decode(np.concatenate([prompt.ids, ids]))
    wanted = [
        (program, Fraction(onset, 48), Fraction(onset + length, 48), pitch, velocity)
        for program, onset, length, pitch, velocity in note_rows(whole)
        if onset >= start
    ]
    assert len(new) == len(wanted) > 5
    tolerance = Fraction(1, ticks_per_quarter) if ticks_per_quarter == 32767 else 0
    for row, model in zip(new, sorted(wanted), strict=True):
        assert (row[0], *row[3:]) == (model[0], *model[3:])
        assert abs(row[1] - model[1]) <= tolerance
        assert abs(row[2] - model[2]) <= tolerance
    tempos = [(Fraction(t, 48), mspq) for t, mspq in [(x.time, x.mspq) for x in whole.tempos] if t >= start]
    assert [mspq for _, mspq in events(joined)["tempos"][1:]] == [mspq for _, mspq in tempos]


@pytest.mark.parametrize("ticks_per_quarter", RESOLUTIONS)
@pytest.mark.parametrize("tempo", [30, 120, 217.7])
def test_a_continuation_in_real_time_is_right_to_ten_milliseconds(ticks_per_quarter: int, tempo: float) -> None:
    performance = domain("performance")
    score = scale(8, ticks_per_quarter=ticks_per_quarter, tempos=[(0, 100), (3, tempo)])
    prompt = performance.prompt(score, 4.0)
    ids = continued("performance", prompt)
    joined = performance.join(prompt, ids)
    split_point = round(prompt.split_point * 100)
    whole = [
        row
        for row in note_rows(performance.tokenizer.decode(np.concatenate([prompt.ids, ids])))
        if row[1] >= split_point
    ]
    kept = {(pitch, onset) for _, onset, _, pitch, _ in note_rows(prompt.piece)}
    factor = joined.ticks_per_quarter // ticks_per_quarter
    new = [row for row in note_rows(joined) if (row[3], row[1] / factor) not in kept]
    assert len(new) == len(whole) > 5
    assert joined.note_num() == len(kept) + len(whole)
    for (_, onset, length, pitch, _), (_, step, steps, wanted, _) in zip(new, whole, strict=True):
        assert pitch == wanted
        assert float(seconds_at(joined, onset)) == pytest.approx(step / 100, abs=0.01)
        assert float(seconds_at(joined, onset + length)) == pytest.approx((step + steps) / 100, abs=0.01)


def test_new_instruments_get_tracks_and_old_ones_keep_theirs() -> None:
    remi = domain("remi")
    prompt = remi.prompt(expressive(), 5.2)
    constraints = MidiConstraints(instruments=("violin", "drums", "73"), bars=4)
    joined = remi.join(prompt, continued("remi", prompt, 3, constraints, 300))
    assert [program_of(track) for track in joined.tracks] == [0, 40, DRUMS, 73]


def test_a_new_note_waits_for_the_held_one_and_is_left_out_if_that_outlasts_it() -> None:
    remi = domain("remi")
    held = [(0, 1, 60, 63), (3, 20, 72, 63)]
    prompt = remi.prompt(make_score({0: held}, ticks_per_quarter=48), 2.0)
    # The ids say that the held note lasts 12 beats: up to 15, not to 23.
    vocabulary = remi.tokenizer.vocabulary()
    text = "TimeSig_4/4 Bar_None TimeSig_4/4 Bar_None TimeSig_4/4 Position_72 Program_0 " + " ".join(
        f"{before}Pitch_72 Velocity_127 Duration_{length}"
        for before, length in (("", "4.0.2"), ("Bar_None TimeSig_12/4 Position_72 ", "12.0.2"))
    )
    ids = np.array([vocabulary.index(word) for word in text.split()])[:, None]
    assert [row[1:3] for row in note_rows(remi.tokenizer.decode(np.concatenate([prompt.ids, ids])))[2:]] == [
        (15 * 48, 4 * 48),
        (19 * 48, 12 * 48),
    ]
    joined = remi.join(prompt, ids)
    assert note_rows(joined) == [*note_rows(prompt.piece), (0, 23 * 48, 8 * 48, 72, 127)]


def test_new_notes_of_one_pitch_never_overlap_the_prompts_or_each_other() -> None:
    """Recorded notes overlap the bar line by a hair; what is struck there waits for them."""
    remi = domain("remi")
    notes = [(beat, 1.02, 60 + beat % 4, 63) for beat in range(16)]
    prompt = remi.prompt(make_score({0: notes}, ticks_per_quarter=960), 4.0)
    constraints = MidiConstraints(instruments=("0",), bars=8)
    for seed in range(5):
        joined = remi.join(prompt, continued("remi", prompt, seed, constraints, 400))
        by_pitch: dict[int, list[tuple[int, int]]] = {}
        for _, onset, length, pitch, _ in note_rows(joined):
            by_pitch.setdefault(pitch, []).append((onset, onset + length))
        for spans in by_pitch.values():
            assert all(end <= onset for (_, end), (onset, _) in pairwise(spans))
        assert note_rows(remi.loads(remi.dumps(joined))) == note_rows(joined)


def test_a_new_pedal_waits_for_the_one_that_is_down() -> None:
    remi = domain("remi")
    score = make_score(
        {0: [(i, 1, 60, 63) for i in range(8)]}, controls={0: [(3, 64, 127), (6, 64, 0)]}, ticks_per_quarter=48
    )
    score = remi.loads(remi.dumps(score))
    prompt = remi.prompt(score, 2.0)
    vocabulary = remi.tokenizer.vocabulary()
    # Released in the ids at 5, pressed at 5.5, up at 7; in the file it is down until 6.
    text = "TimeSig_4/4 Position_24 PedalOff_0 Position_36 Pedal_0 Position_72 PedalOff_0"
    ids = np.array([vocabulary.index(word) for word in text.split()])[:, None]
    joined = remi.join(prompt, ids)
    assert pedal_rows(joined) == [(0, 3 * 48, 6 * 48), (0, 6 * 48, 7 * 48)]
    assert pedal_rows(remi.loads(remi.dumps(joined))) == pedal_rows(joined)


def test_pitch_bends_at_the_end_of_the_prompt_are_reset() -> None:
    remi = domain("remi")
    score = scale(4)
    score.tracks[0].pitch_bends.append(PitchBend(1900, 4000))
    score.tracks[0].pitch_bends.append(PitchBend(2000, 0))
    prompt = remi.prompt(score, 2.0)
    joined = remi.join(prompt, continued("remi", prompt, constraints=MidiConstraints(instruments=("0",), bars=2)))
    assert [(bend.time, bend.value) for bend in joined.tracks[0].pitch_bends] == [(1900, 4000), (1920, 0)]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    name=st.sampled_from(NAMES),
    ticks_per_quarter=st.sampled_from(RESOLUTIONS),
    seconds=st.floats(0, 25),
    seed=st.integers(0, 2**31),
    model=st.sampled_from([recorded, expressive]),
)
def test_any_join_survives_its_file(name: str, ticks_per_quarter: int, seconds: float, seed: int, model: Any) -> None:
    midi = domain(name)
    prompt = midi.prompt(model(ticks_per_quarter), seconds)
    joined = midi.join(prompt, continued(name, prompt, seed, steps=80))
    again = midi.loads(midi.dumps(joined))
    assert note_rows(again) == note_rows(joined)
    assert pedal_rows(again) == pedal_rows(joined)
    assert events(again)["tempos"] == events(joined)["tempos"]
    assert events(again)["signatures"] == events(joined)["signatures"]
    assert midi.dumps(again) == midi.dumps(joined)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_prompt_the_continuation_is_the_piece(name: str) -> None:
    midi = domain(name)
    prompt = midi.prompt(None)
    ids = continued(name, prompt)
    assert midi.dumps(midi.join(prompt, ids)) == midi.dumps(midi.tokenizer.decode(ids))


@pytest.mark.parametrize("name", NAMES)
def test_notes_of_a_prompt_are_described_as_long_as_in_its_file(name: str) -> None:
    midi = domain(name)
    # The first is longer than any id says, the second held across the split point; what follows has its own ids'
    # lengths.
    piece = make_score(
        {40: [(0, 30.3, 50, 80), (7.5, 3.7, 62, 80), (2, 0.53, 64, 80), (9, 1, 67, 80), (10, 1, 69, 80)]}
    )
    prompt = midi.prompt(midi.loads(midi.dumps(piece)), 4.1)
    ids = np.concatenate([prompt.ids, midi.tokenizer.encode(piece)[len(prompt.ids) - 1 :]])
    tokens = [step[0] for step in midi.tokenizer.describe(ids, prompt)]
    found = {token.value: (token.start, token.end) for token in tokens if token.kind == "pitch"}
    assert [found[pitch] for pitch in (50, 62, 64)] == [
        pytest.approx(span, abs=0.006) for span in ((0, 15.15), (3.75, 5.6), (1, 1.265))
    ]
    assert found[67] == pytest.approx((4.5, 5), abs=0.03)
    # Without its file a prompt is what its ids say.
    plain = {token.value: token.end for (token,) in midi.tokenizer.describe(prompt.ids) if token.kind == "pitch"}
    assert plain[50] < 15
