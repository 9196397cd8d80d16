"""Grammars: every sampled sequence of ids is a score, wherever it stops."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_pieces import (
    band,
    domain,
    draw,
    grammar_of,
    kinds,
    make_score,
    names,
    note_rows,
    pedal_rows,
    scale,
    signature_rows,
    tempo_rows,
)
from midi_readers import READERS

from muse_tokenizers.base import Ids
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.performance import PerformanceTokenizer
from muse_tokenizers.midi.vocabulary import make_miditok

FOREVER = MidiConstraints(seconds=1e9)
"""A length that is never reached: without it uniform logits end a piece every thousand tokens."""

NAMES = ("parts", "remi", "performance")
TASTES = (0.0, 1.0, 2.0)
"""How much a candidate prefers some kinds of ids to others; with 0 the logits are uniform over all ids."""


@cache
def drawn(name: str, taste: float) -> Ids:
    """(8, 1250, 1): ten thousand ids."""
    ids = draw(grammar_of(name, 8, FOREVER), 1250, seed=7, kind_of=kinds(domain(name)), spread=taste)
    assert ids.shape == (8, 1250, 1)
    return ids


@cache
def miditok(name: str) -> Any:
    return make_miditok(CONFIGURATIONS[name])


def errors(name: str, ids: Ids) -> float:
    """MidiTok's own count, of a piece in which every note has been ended; scores in parts are unknown to it."""
    if name == "parts":
        return 0.0
    from miditok import TokSequence

    special = (domain(name).tokenizer.pad, domain(name).tokenizer.begin, domain(name).tokenizer.end)
    whole = [int(i) for i in ids[:, 0] if i not in special]
    if name == "performance":
        form = PerformanceTokenizer()
        whole = form.closed(whole[: form.whole_length(whole)])
        found = miditok(name).tokens_errors([TokSequence(ids=whole)])
    else:
        found = miditok(name).tokens_errors(TokSequence(ids=whole))
    return float(np.max(found))


@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("name", ["remi", "performance"])
def test_ten_thousand_random_tokens_have_no_error(name: str, taste: float) -> None:
    assert [errors(name, ids) for ids in drawn(name, taste)] == [0.0] * 8


@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("name", NAMES)
def test_random_tokens_read_the_same_by_a_slow_reader_wherever_they_stop(name: str, taste: float) -> None:
    """The reader raises where a rule is broken: see `midi_pieces.read_remi` and `midi_pieces.read_performance`."""
    midi = domain(name)
    for candidate, ids in enumerate(drawn(name, taste)):
        for length in (*range(candidate, 1250, 300), 1250):
            reading, score = READERS[name](names(midi, ids[:length])), midi.tokenizer.decode(ids[:length])
            assert sorted(reading.notes) == note_rows(score)


@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("name", NAMES)
def test_every_finished_pitch_is_a_note(name: str, taste: float) -> None:
    for ids in drawn(name, taste):
        tokens = names(domain(name), ids)
        last = {"parts": ("Duration", "PitchDrum"), "remi": ("Duration",), "performance": ("Velocity",)}[name]
        assert domain(name).tokenizer.decode(ids).note_num() == sum(token.startswith(last) for token in tokens)


@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("name", NAMES)
def test_random_scores_survive_their_files(name: str, taste: float) -> None:
    midi = domain(name)
    for candidate, ids in enumerate(drawn(name, taste)):
        for length in (50 + candidate, 1250):
            score = midi.tokenizer.decode(ids[:length])
            if not score.note_num():
                continue
            again = midi.loads(midi.dumps(score))
            assert note_rows(again) == note_rows(score)
            assert pedal_rows(again) == pedal_rows(score)
            assert tempo_rows(again) == tempo_rows(score)
            assert signature_rows(again) == signature_rows(score)
            assert midi.dumps(again) == midi.dumps(score)


@pytest.mark.parametrize("name", NAMES)
def test_many_short_pieces_end_whole(name: str) -> None:
    """Without a requested length the end is drawn too, and only where nothing is left dangling."""
    midi = domain(name)
    grammar = grammar_of(name, 48)
    ids = draw(grammar, 400, seed=3, kind_of=kinds(midi), spread=2.0)
    ended = grammar.finished
    assert ended.sum() >= 5
    for candidate in ids[ended]:
        piece = candidate[: int(np.argmax(candidate[:, 0] == midi.tokenizer.end))]
        assert (candidate[len(piece) + 1 :] == midi.tokenizer.pad).all()
        assert midi.tokenizer.decode(piece).note_num() > 0
        assert errors(name, piece) == 0
        assert len(names(midi, piece)) == len(piece)
        if name == "parts":
            READERS[name](names(midi, piece))
            assert not names(midi, piece)[-1].startswith(("Program", "Part", "Pitch_", "Position"))
        if name == "remi":
            assert not names(midi, piece)[-1].startswith(("Program", "Pitch", "Velocity", "Position", "Bar"))


@pytest.mark.parametrize("name", NAMES)
def test_whole_says_where_nothing_is_left_dangling(name: str) -> None:
    midi = domain(name)
    grammar = grammar_of(name, 4, FOREVER)
    steps = []
    for _ in range(300):
        ids = draw(grammar, 1, seed=len(steps))[:, 0]
        steps.append(ids)
        for candidate, whole in enumerate(grammar.complete):
            kind = midi.tokenizer.vocabulary()[ids[candidate, 0]].split("_")[0]
            dangling = {"remi": ("Bar", "Position", "Program", "Pitch", "PitchDrum", "Velocity")}.get(name, ("NoteOn",))
            if name == "parts":
                dangling = ("Origin", "Style", "BaseTempo", "Position", "Program", "Part", "Pitch")
                drum = len(steps) > 1 and midi.tokenizer.vocabulary()[steps[-2][candidate, 0]].startswith("PitchDrum")
                dangling += () if drum else ("Velocity",)
            assert whole == (kind not in dangling)


@pytest.mark.parametrize("name", NAMES)
def test_many_candidates_behave_exactly_as_single_ones(name: str) -> None:
    midi = domain(name)
    constraints = (
        MidiConstraints(key="D minor", seconds=8.0)
        if name == "performance"
        else MidiConstraints(key="D minor", tempo=90, bars=3)
    )
    prompt = midi.prompt(band(), 6.0).ids
    together = grammar_of(name, 7, constraints, prompt)
    apart = [grammar_of(name, 1, constraints, prompt) for _ in range(7)]
    random = np.random.default_rng(0)
    taste = 1.5 * random.standard_normal((7, 24))
    for _ in range(400):
        allowed = together.allowed()
        for one, grammar in enumerate(apart):
            assert (grammar.allowed()[0] == allowed[one]).all()
        logits = np.where(allowed[:, 0], random.random(allowed[:, 0].shape) + taste[:, kinds(midi)], -np.inf)
        ids = logits.argmax(-1)[:, None]
        together.advance(ids)
        for one, grammar in enumerate(apart):
            grammar.advance(ids[one : one + 1])
            assert grammar.complete[0] == together.complete[one]
            assert grammar.finished[0] == together.finished[one]
            assert grammar.elapsed[0] == together.elapsed[one]
    assert together.finished.any()


@pytest.mark.parametrize("name", NAMES)
def test_the_grammar_after_a_prompt_is_the_grammar_of_the_whole(name: str) -> None:
    """Growing step by step and starting from what is there lead to the same state."""
    ids = drawn(name, 1.0)[0]
    begin = domain(name).prompt(None).ids
    grown = grammar_of(name, 1, FOREVER)
    for length in range(240):
        if length % 16 == 0:
            again = grammar_of(name, 1, FOREVER, np.concatenate([begin, ids[:length]]))
            assert (again.allowed() == grown.allowed()).all()
            assert (again.elapsed == 0).all()
        grown.advance(ids[length][None])


@pytest.mark.parametrize("name", NAMES)
def test_elapsed_is_the_time_of_the_decoded_score(name: str) -> None:
    midi = domain(name)
    grammar = grammar_of(name, 1, FOREVER)
    ids = drawn(name, 1.0)[0]
    for length, step in enumerate(ids[:400]):
        grammar.advance(step[None])
        if length % 23 == 0:
            described = midi.tokenizer.describe(ids[: length + 1])[-1][0]
            at = described.end if described.kind == "time shift" else described.start
            assert grammar.elapsed[0] == pytest.approx(at, abs=1e-9)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 2**32 - 1),
    taste=st.floats(0, 4),
    seconds=st.none() | st.floats(0.5, 12),
    prompted=st.booleans(),
    length=st.integers(1, 150),
)
def test_any_draw_after_any_prompt_is_a_score(
    name: str, seed: int, taste: float, seconds: float | None, prompted: bool, length: int
) -> None:
    midi = domain(name)
    prompt = midi.prompt(band() if prompted else None, seconds)
    grammar = grammar_of(name, 2, FOREVER, prompt.ids)
    for candidate in draw(grammar, length, seed, kinds(midi), taste):
        whole = np.concatenate([prompt.ids, candidate])
        assert errors(name, whole[1:]) == 0
        assert sorted(READERS[name](names(midi, whole)).notes) == note_rows(midi.tokenizer.decode(whole))


# The rules one by one


def allowed_names(name: str, ids: Ids, constraints: MidiConstraints | None = None) -> set[str]:
    midi = domain(name)
    grammar = grammar_of(name, 1, constraints, np.concatenate([midi.prompt(None).ids, ids]))
    vocabulary = midi.tokenizer.vocabulary()
    return {vocabulary[i] for i in np.flatnonzero(grammar.allowed()[0, 0])}


def remi_ids(text: str) -> Ids:
    vocabulary = domain("remi").tokenizer.vocabulary()
    words = ["Bar_None" if word == "Bar" else word for word in text.split()]
    return np.array([vocabulary.index(word) for word in words], dtype=np.int64)[:, None]


NOTE = "Velocity_63 Duration_1.0.12"


@pytest.mark.parametrize("beats", ["4/4", "3/4", "1/8", "12/8", "7/4"])
def test_positions_fill_the_bar_and_no_more(beats: str) -> None:
    following = allowed_names("remi", remi_ids(f"Bar TimeSig_{beats}"))
    positions = {name for name in following if name.startswith("Position")}
    assert positions == {f"Position_{i}" for i in range(24 * int(beats.split("/")[0]))}
    assert following - positions == {"Bar_None"}


def test_a_piece_begins_with_a_bar_and_its_time_signature() -> None:
    assert allowed_names("remi", remi_ids("")) == {"Bar_None"}
    assert all(name.startswith("TimeSig") for name in allowed_names("remi", remi_ids("Bar")))


def test_positions_rise() -> None:
    following = allowed_names("remi", remi_ids(f"Bar TimeSig_4/4 Position_90 Program_0 Pitch_60 {NOTE}"))
    assert {name for name in following if name.startswith("Position")} == {f"Position_{i}" for i in range(91, 96)}


def test_a_sounding_pitch_is_free_again_where_it_ends() -> None:
    start = f"Bar TimeSig_4/4 Position_0 Program_0 Pitch_60 {NOTE} "
    assert "Pitch_60" not in allowed_names("remi", remi_ids(start))
    assert "Pitch_60" not in allowed_names("remi", remi_ids(start + "Position_23"))
    assert "Pitch_60" in allowed_names("remi", remi_ids(start + "Position_24"))
    assert "Pitch_61" in allowed_names("remi", remi_ids(start))
    assert "Pitch_60" in allowed_names("remi", remi_ids(start + "Program_1"))
    assert "Program_0" not in allowed_names("remi", remi_ids(start))


def test_a_note_may_sound_into_the_next_bar() -> None:
    start = "Bar TimeSig_1/4 Position_12 Program_0 Pitch_60 Velocity_63 Duration_1.0.12 Bar TimeSig_3/8 "
    assert "Pitch_60" not in allowed_names("remi", remi_ids(start + "Position_0"))
    assert "Pitch_60" not in allowed_names("remi", remi_ids(start + "Position_23"))
    assert "Pitch_60" in allowed_names("remi", remi_ids(start + "Position_24"))


def test_drum_pitches_are_for_the_drum_kit() -> None:
    for program, own, other in (("-1", "PitchDrum_36", "Pitch_36"), ("0", "Pitch_36", "PitchDrum_36")):
        following = allowed_names("remi", remi_ids(f"Bar TimeSig_4/4 Position_0 Program_{program}"))
        assert own in following
        assert other not in following


def test_notes_need_an_instrument_first() -> None:
    following = allowed_names("remi", remi_ids("Bar TimeSig_4/4 Position_0"))
    assert not any(name.startswith("Pitch") for name in following)
    assert "Program_0" in following


def test_pedals_alternate_and_are_down_for_a_while() -> None:
    start = "Bar TimeSig_4/4 Position_0 Pedal_0 "
    following = allowed_names("remi", remi_ids(start))
    assert "PedalOff_0" not in following
    assert "Pedal_0" not in following
    assert "PedalOff_1" not in following
    assert "Pedal_1" in following
    later = allowed_names("remi", remi_ids(start + "Position_1"))
    assert "PedalOff_0" in later
    assert "Pedal_0" not in later
    assert "Pedal_0" in allowed_names("remi", remi_ids(start + "Position_1 PedalOff_0 Position_2"))


def test_one_tempo_at_a_time() -> None:
    following = allowed_names("remi", remi_ids("Bar TimeSig_4/4 Position_0 Tempo_120.0"))
    assert not any(name.startswith("Tempo") for name in following)
    assert "Bar_None" in following


def test_a_piece_without_notes_does_not_end() -> None:
    assert "EOS_None" not in allowed_names("remi", remi_ids("Bar TimeSig_4/4"))
    assert "EOS_None" not in allowed_names("remi", remi_ids("Bar TimeSig_4/4 Position_0 Tempo_120.0"))
    assert "EOS_None" not in allowed_names("performance", np.zeros((0, 1), dtype=np.int64))


def test_only_a_requested_length_ends_a_piece() -> None:
    ids = domain("remi").tokenizer.encode(scale(2))
    assert "EOS_None" in allowed_names("remi", ids)
    assert "EOS_None" not in allowed_names("remi", ids, MidiConstraints(bars=9))
    assert "EOS_None" not in allowed_names("remi", ids, MidiConstraints(seconds=9))


def test_a_struck_note_is_not_struck_again_nor_ended_at_once() -> None:
    ids = domain("performance").tokenizer.encode(make_score({0: [(0, 1, 60, 63), (0, 1, 64, 63)]}))
    following = allowed_names("performance", ids[:4])
    assert not {"NoteOn_60", "NoteOn_64", "NoteOff_60", "NoteOff_61"} & following
    assert {"NoteOn_61", "TimeShift_1.0.50"} <= following
    later = allowed_names("performance", ids[:5])
    assert {"NoteOff_60", "NoteOff_64"} <= later
    assert not {"NoteOn_60", "NoteOff_61"} & later
    assert {name.split("_")[0] for name in allowed_names("performance", ids[:1])} == {"Velocity"}
