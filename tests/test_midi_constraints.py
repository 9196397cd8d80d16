"""Constraints of music: how they are specified, and that continuations satisfy them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from midi_pieces import (
    DRUMS,
    band,
    domain,
    draw,
    grammar_of,
    grow,
    kinds,
    names,
    program_of,
    scale,
    seconds_at,
    tempo_rows,
)
from midi_readers import READERS

from muse_tokenizers.base import Ids
from muse_tokenizers.errors import ConstraintError
from muse_tokenizers.midi.constraints import MidiConstraints, parse_instruments, parse_key
from muse_tokenizers.midi.labels import pitch_name, program_name

# How it can be said


@pytest.mark.parametrize(
    ("words", "programs"),
    [
        (("violin",), {40}),
        (("Violin",), {40}),
        (("  VIOLIN ",), {40}),
        (("0", "127"), {0, 127}),
        (("00",), {0}),
        (("drums",), {DRUMS}),
        (("Drum",), {DRUMS}),
        (("percussion",), {DRUMS}),
        (("violin", "drums", "0"), {DRUMS, 0, 40}),
        (("acoustic grand piano",), {0}),
        (("timpani", "47"), {47}),
        ((), set()),
    ],
)
def test_instruments_are_names_and_numbers(words: tuple[str, ...], programs: set[int]) -> None:
    assert parse_instruments(words) == programs


@pytest.mark.parametrize(
    ("word", "programs"),
    [
        *(("bass", set(range(32, 40))), ("Basses", set(range(32, 40))), ("bassoon", {70}), ("bassoons", {70})),
        *(("double bass", {32, 43}), ("upright bass", {32, 43}), ("bass guitar", {*range(33, 38)})),
        *(("piano", set(range(6))), ("electric piano", {4, 5}), ("Rhodes", {4, 5}), ("harpsichord", {6})),
        *(("keyboard", {*range(9), *range(16, 21)}), ("organ", {*range(16, 21)}), ("Hammond", {16, 17, 18})),
        *(("guitar", {*range(24, 32)}), ("acoustic guitar", {24, 25}), ("electric guitar", {*range(26, 31)})),
        *(("strings", {*range(40, 46), *range(48, 52)}), ("String Ensemble 1", {48}), ("string ensembles", {48, 49})),
        *(("harp", {46}), ("horn", {60}), ("French horns", {60}), ("brass", {*range(56, 64)}), ("trumpets", {56})),
        *(("saxophone", {64, 65, 66, 67}), ("sax", {64, 65, 66, 67}), ("Alto Saxophone", {65}), ("tenor saxes", {66})),
        *(("woodwind", {*range(64, 76)}), ("woodwinds", {*range(64, 76)}), ("flute", {73}), ("pan pipes", {75})),
        *(("vocals", {52, 53, 54}), ("choir", {52, 53, 54}), ("voices", {52, 53, 54}), ("voice oohs", {53})),
        *(("synth lead", {*range(80, 88)}), ("pads", {*range(88, 96)}), ("synth bass", {38, 39})),
        *(("hi-hat", {DRUMS}), ("tambourine", {DRUMS}), ("contra bass", {43}), ("contrabassoon", {70})),
        *(("jazz organ", {16, 17, 18}), ("concertina", {21})),
        *(("drum kit", {DRUMS}), ("Drum-Kit", {DRUMS}), ("steel drums", {114}), ("vibes", {11}), ("harpsi", {6})),
    ],
)  # fmt: skip
def test_instruments_are_families_aliases_and_whole_words_as_musicians_use_them(word: str, programs: set[int]) -> None:
    assert parse_instruments((word,)) == programs


def test_a_sidecar_of_the_first_rules_has_every_name_with_a_part() -> None:
    assert parse_instruments(("bass",), rules=1) == {*range(32, 40), 43, 70, 87}
    grammars = [
        grammar_of("remi", 1, MidiConstraints(instruments=("oon",), rules=1)),
        grammar_of("remi", 1, MidiConstraints(key="C")),
    ]
    assert len(grammars) == 2
    with pytest.raises(ConstraintError, match=r"^instruments is 'oon'"):
        grammar_of("remi", 1, MidiConstraints(instruments=("oon",)))


def test_every_general_midi_name_means_itself() -> None:
    for program in range(128):
        assert program in parse_instruments((program_name(program),))
        assert len(parse_instruments((program_name(program),))) == 1


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        *((word, "") for word in ("", " ", "128", "-1", "1.5", "kazoo", "²", "piano,violin", "bas")),
        *(("trumpt", " (did you mean trumpet?)"), ("vioiln", " (did you mean violin?)")),
        ("clarinett", " (did you mean clarinet or clavinet?)"),
    ],
)
def test_an_unknown_instrument_is_named_with_the_allowed_ones(word: str, meant: str) -> None:
    message = (
        f"instruments is {word!r}; allowed: drums, a program from 0 to 127, a General MIDI name, or a family or word "
        f"of several, such as piano, strings, electric guitar{meant}"
    )
    with pytest.raises(ConstraintError, match=f"^{re.escape(message)}$"):
        parse_instruments(("piano", word))


C_MAJOR = {0, 2, 4, 5, 7, 9, 11}
A_MINOR = {9, 11, 0, 2, 4, 5, 7, 8}


@pytest.mark.parametrize(
    ("key", "classes"),
    [
        *(("C", C_MAJOR), ("C major", C_MAJOR), ("c maj", C_MAJOR), ("CM", C_MAJOR), (" C major ", C_MAJOR)),
        *(("A minor", A_MINOR), ("Am", A_MINOR), ("a min", A_MINOR)),
        ("F# minor", {6, 8, 9, 11, 1, 2, 4, 5}),
        ("Gb minor", {6, 8, 9, 11, 1, 2, 4, 5}),
        ("F♯m", {6, 8, 9, 11, 1, 2, 4, 5}),
        *(("Bb", {10, 0, 2, 3, 5, 7, 9}), ("B♭ major", {10, 0, 2, 3, 5, 7, 9}), ("Cb", {11, 1, 3, 4, 6, 8, 10})),
        *(("b minor", {11, 1, 2, 4, 6, 7, 9, 10}), ("B", {11, 1, 3, 4, 6, 8, 10}), ("bb", {10, 0, 2, 3, 5, 7, 9})),
        *(("A MINOR", A_MINOR), ("a-minor", A_MINOR), ("C Major", C_MAJOR), ("a", {9, 11, 1, 2, 4, 6, 8})),
        *(
            (key, {6, 8, 9, 11, 1, 2, 4, 5})
            for key in ("f# minor", "F# Minor", "F-sharp minor", "f sharp MINOR", "F # m")
        ),
        *((key, {3, 5, 7, 8, 10, 0, 2}) for key in ("Eb", "e flat major", "E-flat-major", "Eb Major")),
        *((key, C_MAJOR) for key in ("D dorian", "E Phrygian", "F LYDIAN", "G mixolydian", "A aeolian", "B locrian")),
        *(("C ionian", C_MAJOR), ("d dorian mode", C_MAJOR), ("A natural minor", C_MAJOR)),
        *(("A harmonic minor", {9, 11, 0, 2, 4, 5, 8}), ("A melodic minor", {9, 11, 0, 2, 4, 6, 8})),
        *(("C pentatonic", {0, 2, 4, 7, 9}), ("A minor pentatonic", {0, 2, 4, 7, 9})),
        *(("E blues", {4, 7, 9, 10, 11, 2}), ("Eb blues", {3, 6, 8, 9, 10, 1}), ("B blues scale", {11, 2, 4, 5, 6, 9})),
        *(("0", {0}), ("0,4,7", {0, 4, 7}), (" 11 , 0 ", {0, 11}), ("7,7", {7})),
    ],
)
def test_keys_are_tonics_with_modes_or_pitch_classes(key: str, classes: set[int]) -> None:
    assert parse_key(key) == classes


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        *(
            (key, "")
            for key in ("", " ", "H", "C#b", "12", "0,12", "0,,4", ",", "-1", "minor", "Cmm", "1.5", "²", "C-")
        ),
        *(("C dorain", " (did you mean dorian?)"), ("F# minro", " (did you mean minor?)")),
    ],
)
def test_an_unknown_key_is_named_with_the_allowed_ones(key: str, meant: str) -> None:
    message = (
        f"key is {key!r}; allowed: a tonic (alone: major) and a mode such as 'C major', 'F# minor', 'Bbm', "
        f"'D dorian', 'A harmonic minor', 'E blues', or pitch classes from 0 to 11 such as '0,4,7'{meant}"
    )
    with pytest.raises(ConstraintError, match=f"^{re.escape(message)}$"):
        parse_key(key)


def test_numbers_have_the_names_musicians_use() -> None:
    assert [pitch_name(pitch) for pitch in (0, 21, 60, 61, 69, 127)] == ["C-1", "A0", "C4", "C#4", "A4", "G9"]
    assert [program_name(program) for program in (-1, 0, 40)] == ["Drums", "Acoustic Grand Piano", "Violin"]


# That it holds


def continuations(
    name: str, constraints: MidiConstraints, prompt: Ids | None = None, steps: int = 300, seed: int = 0
) -> list[Ids]:
    """What random logits make of a constraint: with and without a taste for some kinds of ids."""
    kind_of = kinds(domain(name))
    found = []
    for taste in (0.0, 1.5):
        found += grow(grammar_of(name, 6, constraints, prompt), steps, seed, kind_of, taste)
    return found


def programs(score: Any) -> set[int]:
    return {program_of(track) for track in score.tracks if len(track.notes) or len(track.pedals)}


def pitches(score: Any) -> set[int]:
    return {note.pitch for track in score.tracks if not track.is_drum for note in track.notes}


@pytest.mark.parametrize("words", [("piano",), ("drums",), ("violin", "drums"), ("127",)])
@pytest.mark.parametrize("name", ["parts", "remi"])
def test_only_the_requested_instruments_play(name: str, words: tuple[str, ...]) -> None:
    remi = domain(name)
    notes = 0
    for ids in continuations(name, MidiConstraints(instruments=words)):
        score = remi.tokenizer.decode(ids)
        assert programs(score) <= parse_instruments(words)
        told = [token.split("_")[1] for token in names(remi, ids) if token.startswith(("Program", "Pedal"))]
        # A pedal of a score in parts is that of the current player.
        named = {int(value) for value in told if value != "None"}
        assert named <= parse_instruments(words)
        notes += score.note_num()
    assert notes > 100


@pytest.mark.parametrize("key", ["F# minor", "0", "0,4,7"])
@pytest.mark.parametrize("name", ["parts", "remi", "performance"])
def test_all_pitches_are_in_the_requested_key(name: str, key: str) -> None:
    notes = 0
    for ids in continuations(name, MidiConstraints(key=key)):
        score = domain(name).tokenizer.decode(ids)
        assert {pitch % 12 for pitch in pitches(score)} <= parse_key(key)
        notes += score.note_num()
    assert notes > 100


@pytest.mark.parametrize("name", ["parts", "remi"])
def test_drums_are_free_of_the_key(name: str) -> None:
    remi = domain(name)
    drums = {
        note.pitch % 12
        for ids in continuations(name, MidiConstraints(key="0", instruments=("drums",)))
        for track in remi.tokenizer.decode(ids).tracks
        for note in track.notes
    }
    assert drums == set(range(12))


@pytest.mark.parametrize(("tempo", "nearest"), [(120, 120), (121, 120), (20, 20), (260, 260), (93.9, 92), (94.1, 96)])
def test_the_requested_tempo_holds_from_the_first_tick_to_the_last(tempo: float, nearest: int) -> None:
    remi = domain("remi")
    for ids in continuations("remi", MidiConstraints(tempo=tempo), steps=60):
        assert tempo_rows(remi.tokenizer.decode(ids)) == [(0, round(60e6 / nearest))]


@pytest.mark.parametrize("tempo", [9.9, 400.1, 0, -3, 1e9, float("nan"), float("inf")])
def test_a_tempo_out_of_range_is_refused(tempo: float) -> None:
    message = f"tempo is {tempo}; allowed: 10 to 400"
    with pytest.raises(ConstraintError, match=f"^{re.escape(message)}$"):
        grammar_of("remi", 1, MidiConstraints(tempo=tempo))


@pytest.mark.parametrize("bars", [1, 2, 5])
@pytest.mark.parametrize("name", ["parts", "remi"])
def test_never_more_than_the_requested_bars_begin(name: str, bars: int) -> None:
    remi = domain(name)
    full = 0
    for ids in continuations(name, MidiConstraints(bars=bars), steps=1500):
        found = READERS[name](names(remi, ids)).bars
        assert len(found) <= bars
        full += len(found) == bars
        score = remi.tokenizer.decode(ids)
        end = found[-1][0] + found[-1][1] * 192 // found[-1][2]
        assert all(note.time < end for track in score.tracks for note in track.notes)
    assert full >= 3


@pytest.mark.parametrize("bars", [1, 3])
@pytest.mark.parametrize("name", ["parts", "remi"])
def test_bars_are_counted_from_the_cut(name: str, bars: int) -> None:
    remi = domain(name)
    prompt = remi.prompt(band(), 6.0)
    before = len(READERS[name](names(remi, prompt.ids)[:-1]).bars)
    counts = set()
    for ids in continuations(name, MidiConstraints(bars=bars), prompt.ids, steps=1500):
        counts.add(len(READERS[name](names(remi, np.concatenate([prompt.ids, ids]))).bars) - before)
    assert max(counts) == bars


@pytest.mark.parametrize("seconds", [0.01, 1, 2.5, 7.3])
@pytest.mark.parametrize("name", ["parts", "remi", "performance"])
def test_nothing_begins_at_or_beyond_the_requested_seconds(name: str, seconds: float) -> None:
    midi = domain(name)
    grammar = grammar_of(name, 12, MidiConstraints(seconds=seconds))
    for ids in grow(grammar, 1500, 0, kinds(midi), 1.0):
        score = midi.tokenizer.decode(ids)
        starts = [event.time for track in score.tracks for event in (*track.notes, *track.pedals)]
        starts += [event.time for event in (*score.tempos, *score.time_signatures)]
        assert all(seconds_at(score, time) < Fraction(seconds) for time in starts)
    assert grammar.finished.any()
    assert (grammar.elapsed[grammar.finished] >= seconds - 1e-9).all()


@pytest.mark.parametrize("name", ["parts", "remi", "performance"])
def test_seconds_are_counted_from_the_cut(name: str) -> None:
    midi = domain(name)
    prompt = midi.prompt(scale(tempos=[(0, 100)]), 5.0)
    for ids in continuations(name, MidiConstraints(seconds=2.0), prompt.ids, steps=1500):
        joined = midi.join(prompt, ids)
        new = [note.time for track in joined.tracks for note in track.notes]
        assert max(float(seconds_at(joined, time)) for time in new) < prompt.split_point + 2.0
        assert midi.tokenizer.decode(np.concatenate([prompt.ids, ids])).note_num() == joined.note_num()


def test_the_requested_tempo_begins_at_the_split_point() -> None:
    remi = domain("remi")
    prompt = remi.prompt(scale(tempos=[(0, 100)]), 5.0)
    for ids in continuations("remi", MidiConstraints(tempo=60, bars=2), prompt.ids, steps=300):
        joined = remi.join(prompt, ids)
        assert tempo_rows(joined) == [(0, 600_000), (prompt.split_index, 1_000_000)]


EVERYTHING = MidiConstraints(instruments=("piano", "violin", "drums"), key="D minor", tempo=72, bars=4, seconds=9.0)


def test_all_constraints_hold_together() -> None:
    remi = domain("remi")
    for ids in continuations("remi", EVERYTHING, steps=1500):
        score = remi.tokenizer.decode(ids)
        assert programs(score) <= parse_instruments(EVERYTHING.instruments)
        assert {pitch % 12 for pitch in pitches(score)} <= parse_key("D minor")
        assert tempo_rows(score) == [(0, round(60e6 / 72))]
        assert len(READERS["remi"](names(remi, ids)).bars) <= 4
        assert all(seconds_at(score, note.time) < 9 for track in score.tracks for note in track.notes)


@pytest.mark.parametrize(
    "constraints",
    [
        MidiConstraints(key="0", instruments=("0",), seconds=1e9),
        MidiConstraints(key="0", instruments=("0",), tempo=120, seconds=1e9),
        MidiConstraints(key="0", instruments=("piano",), tempo=260, bars=10**6),
        MidiConstraints(key="11", instruments=("drums", "127"), seconds=1e9),
        MidiConstraints(key="0", instruments=("0",)),
    ],
    ids=str,
)
@pytest.mark.parametrize("taste", [0.0, 3.0])
@pytest.mark.parametrize("name", ["parts", "remi"])
def test_the_narrowest_constraints_never_lead_to_a_dead_end(
    name: str, constraints: MidiConstraints, taste: float
) -> None:
    """`draw` asserts that something is allowed at every step."""
    kind_of = kinds(domain(name))
    # Notes without end, struck as soon as they may be: each of the few pitches sounds nearly always.
    last = {"parts": "Duration_768", "remi": "Duration_11"}[name]
    long = np.array([word.startswith(last) for word in domain(name).tokenizer.vocabulary()])
    bar = np.array([word.startswith("Bar") for word in domain(name).tokenizer.vocabulary()])
    for kind in (kind_of, np.where(long, 20, kind_of), np.where(bar, 20, kind_of)):
        ids = draw(grammar_of(name, 8, constraints), 400, seed=1, kind_of=kind, spread=taste)
        for candidate in ids:
            tokens = names(domain(name), candidate)
            READERS[name](tokens)


def test_one_pitch_class_in_real_time_never_leads_to_a_dead_end() -> None:
    draw(grammar_of("performance", 8, MidiConstraints(key="0", seconds=1e9)), 800, seed=1)


@pytest.mark.parametrize("name", ["parts", "remi"])
def test_a_prompt_that_violates_a_constraint_does_not_lead_to_a_dead_end(name: str) -> None:
    prompt = domain(name).prompt(band(), 8.0)
    constraints = MidiConstraints(instruments=("flute",), key="1", tempo=60, bars=2)
    for ids in continuations(name, constraints, prompt.ids, steps=300):
        tokens = names(domain(name), ids)
        assert {token for token in tokens if token.startswith("Program")} <= {"Program_73"}
        assert all(int(token.split("_")[1]) % 12 == 1 for token in tokens if token.startswith("Pitch_"))


@pytest.mark.parametrize(
    ("wish", "value"), [("instruments", ("piano",)), ("instruments", ("kazoo",)), ("tempo", 120.0), ("bars", 4)]
)
def test_real_time_cannot_grant_instruments_tempo_or_bars(wish: str, value: Any) -> None:
    message = rf"{wish} is [^;]+; allowed: none with this checkpoint, whose vocabulary has one piano and no bars"
    with pytest.raises(ConstraintError, match=f"^{message}$"):
        grammar_of("performance", 1, MidiConstraints(**{wish: value}))


@pytest.mark.parametrize("name", ["parts", "remi", "performance"])
def test_words_that_mean_nothing_are_refused_by_the_grammar(name: str) -> None:
    with pytest.raises(ConstraintError, match=r"^key is 'H'"):
        grammar_of(name, 1, MidiConstraints(key="H"))
    with pytest.raises(
        ConstraintError,
        match=r"^(instruments is 'kazoo'|instruments is \('kazoo',\); allowed: none with this checkpoint)",
    ):
        grammar_of(name, 1, MidiConstraints(instruments=("kazoo",)))
