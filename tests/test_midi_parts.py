"""Scores in parts: their players, relative tempos, prompts and continuations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from midi_pieces import (
    DRUMS,
    band,
    control_rows,
    draw,
    kinds,
    make_score,
    names,
    note_rows,
    pedal_rows,
    program_of,
    scale,
    signature_rows,
)
from midi_readers import read_parts
from small_parts import continued, domain, grown, ids_of, quartet, random_score
from symusic import Note, TimeSignature

from muse_tokenizers.built_in import STYLES
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.parts_reading import PartsReading
from muse_tokenizers.midi.parts_state import state_of

HEADER = "Origin_score Style_any BaseTempo_120 "


def next_names(text: str, constraints: MidiConstraints | None = None) -> set[str]:
    ids = np.concatenate([domain().prompt(None).ids, ids_of(text)])
    allowed = domain().grammar(ids, 1, constraints).allowed()[0, 0]
    vocabulary = domain().tokenizer.vocabulary()
    return {vocabulary[i] for i in np.flatnonzero(allowed)}


# Encoding


@pytest.mark.parametrize("ticks_per_quarter", [24, 48, 120, 384, 480, 1024])
def test_notes_keep_their_player_and_pitch_and_begin_within_half_a_tick(ticks_per_quarter: int) -> None:
    score = random_score(1, ticks_per_quarter)
    found = read_parts(names(domain(), domain().tokenizer.encode(score)))
    told: dict[tuple[int, int, int], list[int]] = {}
    for (program, onset, _, pitch, _), part in zip(found.notes, found.parts, strict=True):
        told.setdefault((program, part, pitch), []).append(onset)
    part_of = {0: 0, 1: 0, 2: 1, 3: 0, 4: 2}
    expected: dict[tuple[int, int, int], list[float]] = {}
    for number, track in enumerate(score.tracks):
        for note in track.notes:
            place = 48 * note.time / ticks_per_quarter
            expected.setdefault((program_of(track), part_of[number], note.pitch), []).append(place)
    assert told.keys() == expected.keys()
    for key, places in expected.items():
        # Of two notes of a pitch within a tick only one is there.
        distances = np.abs(np.subtract.outer(places, told[key]))
        assert distances.min(axis=0).max() <= 0.5
        assert distances.min(axis=1).max() <= 0.5


@pytest.mark.parametrize("seed", range(6))
def test_decoded_scores_become_the_same_ids(seed: int) -> None:
    tokenizer = domain().tokenizer
    tempos = [(beat / 3, 60 + 20 * np.sin(beat)) for beat in range(40)]
    ids = tokenizer.encode(random_score(seed, (480, 100)[seed % 2], tempos=tempos))
    decoded = tokenizer.decode(ids)
    assert tokenizer.encode(decoded).tolist() == ids.tolist()
    again = domain().loads(domain().dumps(decoded))
    assert tokenizer.encode(again).tolist() == ids.tolist()
    assert len(decoded.tracks) == 5


def test_more_than_eight_tracks_of_a_program_share_the_last_part() -> None:
    score = make_score({})
    for number in range(10):
        score.tracks.append(make_score({40: [(number, 1, 60 + number, 63)]}).tracks[0])
    found = read_parts(names(domain(), domain().tokenizer.encode(score)))
    assert found.parts == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]


def test_a_tempo_is_relative_to_that_of_the_header() -> None:
    shape = [(0, 1.0), (8, 0.8), (12, 1.0), (20, 1.3)]
    encoded = []
    for beats_per_minute in (60.0, 91.0, 150.0):
        score = scale(8, tempos=[(beat, beats_per_minute * ratio) for beat, ratio in shape])
        encoded.append(names(domain(), domain().tokenizer.encode(score)))
    assert encoded[0][3:] == encoded[1][3:] == encoded[2][3:]
    bases = [float(tokens[2].removeprefix("BaseTempo_")) for tokens in encoded]
    assert bases == pytest.approx([60.0, 91.0, 150.0], rel=0.03)
    assert sum(token.startswith("Tempo") for token in encoded[0]) == 3


@pytest.mark.parametrize(("off", "origin"), [(0, "Origin_score"), (7, "Origin_performance")])
def test_a_performance_is_off_the_grid(off: int, origin: str) -> None:
    score = scale(4, ticks_per_quarter=480)
    random = np.random.default_rng(0)
    for note in score.tracks[0].notes:
        note.time += int(random.integers(0, off * 10 + 1))
    assert names(domain(), domain().tokenizer.encode(score))[0] == origin


def test_bars_end_where_a_signature_changes_and_long_ones_are_divided() -> None:
    score = scale(12, signatures=[(0, 4, 4), (6, 3, 4), (9, 12, 4), (33, 6, 8)])
    found = read_parts(names(domain(), domain().tokenizer.encode(score)))
    lines = [(bar[0] / 48, *bar[1:]) for bar in found.bars]
    assert lines[:4] == [(0, 4, 4), (4, 2, 4), (6, 3, 4), (9, 4, 4)]
    assert lines[4:10] == [*((9 + 4 * number, 4, 4) for number in range(1, 6)), (33, 6, 8)]


# Prompts


def changed_after(score: Any, tick: int) -> Any:
    """Return a score with other music from a tick on."""
    other = score.copy()
    for track in other.tracks:
        track.notes = track.notes.filter(lambda note: note.time < tick, inplace=False)
        track.pedals = track.pedals.filter(lambda pedal: pedal.time < tick, inplace=False)
    other.tempos = other.tempos.filter(lambda tempo: tempo.time < tick, inplace=False)
    other.tracks[0].notes.append(Note(tick + 11 * score.ticks_per_quarter + 7, 10, 33, 1))
    late = make_score({40: [(60, 1, 60, 63), (61.01, 1, 60, 63)]}, ticks_per_quarter=score.ticks_per_quarter)
    other.tracks.insert(0, late.tracks[0])
    return other


@pytest.mark.parametrize("seconds", [2.0, 6.0, 11.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_prompt_depends_on_nothing_after_the_split_point(seed: int, seconds: float) -> None:
    score = random_score(seed, tempos=[(beat, 90 + 3 * beat) for beat in range(24)])
    prompt = domain().prompt(score, seconds)
    other = domain().prompt(changed_after(score, prompt.split_index), prompt.split_point + 1e-4)
    assert other.split_index == prompt.split_index
    assert other.ids.tolist() == prompt.ids.tolist()


def cut_short() -> Any:
    """Return a score whose second bar is cut short by a time signature."""
    return scale(8, signatures=[(0, 4, 4), (6, 3, 4), (12, 4, 4)])


@pytest.mark.parametrize("seconds", [3.0, 4.6, 9.0, None])
@pytest.mark.parametrize("piece", [cut_short, band, lambda: random_score(2)])
def test_a_joined_file_has_the_ids_of_its_prompt(piece: Any, seconds: float | None) -> None:
    for seed in range(3):
        # As it is read from a file, which has no overlapping notes of a pitch.
        prompt, joined = continued(domain().loads(domain().dumps(piece())), seconds, MidiConstraints(bars=4), seed)
        again = domain().prompt(domain().loads(domain().dumps(joined)), prompt.split_point + 1e-4)
        assert again.ids.tolist() == prompt.ids.tolist()
        assert again.split_point == pytest.approx(prompt.split_point, abs=1e-6)


def test_a_prompt_ends_where_its_last_bar_is_cut_short() -> None:
    prompt = domain().prompt(cut_short(), 3.0)
    assert (prompt.split_index, prompt.split_point) == (6 * 480, pytest.approx(3.0))
    assert domain().timed(prompt).split_point == pytest.approx(3.0)
    assert read_parts(names(domain(), prompt.ids)).bars[1:] == [(192, 2, 4), (288, 2, 4)]
    # The file says that the bar ended there, whatever follows.
    joined = domain().join(prompt, ids_of("TimeSig_4/4 Position_0 Pitch_60 Duration_48"))
    assert signature_rows(joined) == [(0, 4, 4), (6 * 480, 4, 4)]
    joined = domain().join(prompt, ids_of("Position_0 Pitch_60 Duration_48"))
    assert signature_rows(joined) == [(0, 4, 4), (6 * 480, 2, 4)]


# Tracks


def test_a_part_goes_on_in_its_own_track_and_a_new_part_has_a_new_one() -> None:
    prompt = domain().prompt(quartet())
    ids = ids_of(
        "Position_0 Program_40 Pitch_50 Duration_48 Part_1 Pitch_90 Duration_48 "
        "Part_2 Pitch_91 Velocity_99 Duration_48 Program_42 Pitch_30 Duration_48 Program_7 Pitch_60 Velocity_63 "
        "Duration_48 Part_1 Pitch_61 Velocity_63 Duration_48"
    )
    joined = domain().join(prompt, ids)
    new = [[note.pitch for note in track.notes if note.time >= 8 * 480] for track in joined.tracks]
    assert [track.program for track in joined.tracks] == [40, 42, 40, 7, 7, 40]
    assert new == [[50], [30], [90], [60], [61], [91]]


@pytest.mark.parametrize("seed", range(4))
def test_with_the_instruments_of_the_prompt_there_are_no_new_tracks(seed: int) -> None:
    constraints = MidiConstraints(bars=6, keep_instruments=True)
    prompt, joined = continued(quartet(), 3.0, constraints, seed)
    assert [track.program for track in joined.tracks] == [track.program for track in prompt.piece.tracks]
    assert joined.note_num() >= prompt.piece.note_num()


def test_new_parts_enter_in_their_order() -> None:
    start = HEADER + "Bar Position_0 Program_40 "
    assert not {name for name in next_names(start) if name.startswith("Part")}
    start += "Pitch_60 Velocity_63 Duration_48 "
    assert {name for name in next_names(start) if name.startswith("Part")} == {"Part_1"}
    start += "Part_1 Pitch_60 Velocity_63 Duration_48 "
    assert {name for name in next_names(start) if name.startswith("Part")} == {"Part_0", "Part_2"}


def test_a_pedal_is_that_of_all_tracks_of_its_program() -> None:
    score = make_score({0: [(beat, 1, 70, 80) for beat in range(4)]})
    left = make_score({0: [(beat, 1, 50, 80) for beat in range(4)]}, pedals={0: [(1, 3)]})
    score.tracks.append(left.tracks[0])
    ids = domain().tokenizer.encode(score)
    assert [name for name in names(domain(), ids) if "Pedal" in name] == ["Pedal_None", "PedalOff_None"]
    assert pedal_rows(domain().tokenizer.decode(ids)) == [(0, 48, 144)] * 2
    joined = domain().join(domain().prompt(score), ids_of("Position_0 Pedal Position_48 PedalOff"))
    assert pedal_rows(joined) == [(0, 480, 1440), (0, 1920, 2400), (0, 1920, 2400)]
    assert len(control_rows(domain().loads(domain().dumps(joined)))) >= 4


def test_drums_are_one_player_and_can_be_struck_again_at_the_next_tick() -> None:
    start = HEADER + "Bar Position_0 Program_-1 PitchDrum_36 Velocity_99 "
    assert "PitchDrum_36" not in next_names(start)
    assert not {name for name in next_names(start) if name.startswith(("Part", "Duration", "Pedal"))}
    assert "PitchDrum_36" in next_names(start + "Position_1")
    score = make_score({DRUMS: [(0, 1, 36, 99), (1, 1, 36, 99)]})
    score.tracks.append(make_score({DRUMS: [(0, 1, 36, 80), (1 / 48, 1, 36, 80), (2, 0.1, 50, 80)]}).tracks[0])
    rows = note_rows(domain().tokenizer.decode(domain().tokenizer.encode(score)))
    assert [row[1:4] for row in rows] == [(0, 1, 36), (1, 12, 36), (48, 12, 36), (96, 12, 50)]


# The grammar


@pytest.mark.parametrize("taste", [0.0, 1.0, 2.0])
def test_the_state_after_a_prompt_is_that_after_each_of_its_ids(taste: float) -> None:
    midi, begin = domain(), domain().prompt(None).ids
    tables = midi.tokenizer.tables
    grammar = midi.tokenizer.grammar(begin, 1, MidiConstraints(seconds=1e9))
    ids = draw(midi.grammar(begin, 1, MidiConstraints(seconds=1e9)), 500, 4, kinds(midi), taste)[0]
    for length in range(len(ids)):
        grammar.advance(ids[length][None])
        if length < 3 or length % 7:
            continue
        whole = np.concatenate([begin, ids[: length + 1]])[:, 0]
        found, wanted = grammar._state, state_of(PartsReading(whole, tables), tables)
        for name in ("kind", "player", "position", "bar_start", "bar_ticks", "signature", "ratio", "base", "now"):
            assert getattr(found, name).tolist() == getattr(wanted, name).tolist(), name
        for name in ("heard_players", "velocity", "pressed"):
            assert (getattr(found, name) == getattr(wanted, name)).all(), name
        assert (np.maximum(found.until, found.now) == np.maximum(wanted.until, wanted.now)).all()
        assert max(found.heard[0], found.now[0]) == max(wanted.heard[0], wanted.now[0])


def test_a_requested_style_is_that_of_a_score_without_a_prompt() -> None:
    for number, style in enumerate(STYLES):
        ids = grown(domain().prompt(None), MidiConstraints(style=style, bars=1), number)
        assert names(domain(), ids)[1] == f"Style_{style}"
        assert names(domain(), domain().styled(domain().tokenizer.encode(scale(1)), style))[1] == f"Style_{style}"


@pytest.mark.parametrize("most", [1, 2, 4])
def test_no_more_bars_repeat_than_allowed(most: int) -> None:
    midi = domain()
    vocabulary = midi.tokenizer.vocabulary()
    prompt = midi.prompt(scale(4))
    grammar = midi.grammar(prompt.ids, 1, MidiConstraints(bars=20, repeats=most))
    written, replaced = [], 0

    def write(word: str) -> None:
        written.append(vocabulary.index(word))
        assert grammar.allowed()[0, 0, written[-1]]
        grammar.advance(np.array([[written[-1]]]))

    for _ in range(16):
        for beat, pitch in enumerate((60, 64, 67, 72, 60)):
            write(f"Position_{beat * 24}")
            allowed = grammar.allowed()[0, 0]
            others = [40 + (replaced + step) % 12 for step in range(12)]
            chosen = next(one for one in (pitch, *others) if allowed[vocabulary.index(f"Pitch_{one}")])
            replaced += chosen != pitch
            write(f"Pitch_{chosen}")
            write("Duration_12")
        write("Bar_None")
    assert replaced > 0
    joined = midi.join(prompt, np.array(written)[:, None])
    loop = midi.measure(joined, prompt.split_point, midi.duration(joined))["longest_loop"]
    assert loop.value <= most  # type: ignore[union-attr]


# Descriptions and augmentation


def test_players_and_relative_tempos_are_described_as_musicians_say_them() -> None:
    text = HEADER + (
        "Bar TimeSig_6/8 Tempo_0.5 Position_24 Program_40 Pitch_60 Velocity_63 Duration_36 Part_1 Pitch_64 "
        "Velocity_67 Duration_24 Pedal Position_48 PedalOff Program_-1 PitchDrum_36 Velocity_99"
    )
    found = [step[0] for step in domain().tokenizer.describe(ids_of(text))]
    assert [token.label for token in found] == [
        *("score", "style: any", "120 bpm", "bar 1", "6/8", "60 bpm", "beat 2", "Violin", "C4", "velocity 63"),
        *("0.75 beats", "Violin 2", "E4", "velocity 67", "0.5 beats", "pedal down, Violin", "beat 3"),
        *("pedal up, Violin", "Drums", "Bass Drum 1", "velocity 99"),
    ]
    assert [(token.start, token.end) for token in found if token.note is not None] == [
        *([(0.5, 1.25)] * 3), *([(0.5, 1.0)] * 3), *([(1.0, 1.25)] * 2),
    ]  # fmt: skip


def test_variations_are_transposed_faster_louder_and_of_no_style() -> None:
    midi = domain()
    ids = midi.styled(midi.tokenizer.encode(quartet()), "quartet")
    variations = midi.variations()
    assert len(variations.maps) == 12 * 5 * 3 * 2
    seen = set()
    for moved in variations.maps[::7]:
        tokens = names(midi, moved[ids])
        seen.add((tokens[1], tokens[2], next(token for token in tokens if token.startswith("Velocity"))))
        assert midi.tokenizer.decode(moved[ids]).note_num() == quartet().note_num()
    assert {style for style, _, _ in seen} == {"Style_quartet", "Style_any"}
    assert len({tempo for _, tempo, _ in seen}) == 5
    assert len({velocity for _, _, velocity in seen}) == 3


def test_a_signature_of_the_prompt_is_not_repeated_after_it() -> None:
    score = scale(4, signatures=[(0, 3, 4)])
    assert isinstance(score.time_signatures[0], TimeSignature)
    joined = domain().join(domain().prompt(score, 4.0), ids_of("Position_0 Pitch_60 Duration_48"))
    assert signature_rows(joined) == [(0, 3, 4)]
