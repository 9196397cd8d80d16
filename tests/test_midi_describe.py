"""Descriptions of ids (label, kind, span and note), and transposition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from midi_pieces import DRUMS, band, domain, make_score, names, note_rows, read_remi

from muse_tokenizers.base import Ids, Token


def described(name: str, score: Any) -> list[Token]:
    midi = domain(name)
    return [token for (token,) in midi.tokenizer.describe(midi.tokenizer.encode(score))]


SMALL = make_score(
    {0: [(0, 2, 61, 63), (1, 2, 64, 127), (6, 0.5, 60, 63)], DRUMS: [(4, 0.25, 36, 127)]},
    tempos=[(0, 120), (2, 60), (4, 240)],
    signatures=[(0, 2, 4), (2, 3, 4)],
    pedals={0: [(0, 6)]},
)


def test_bars_and_positions_are_described_as_musicians_say_them() -> None:
    found = [(token.label, token.kind, token.start, token.end, token.note) for token in described("remi", SMALL)]
    assert found == [
        ("bar 1", "bar", 0, 0, None),
        ("2/4", "time signature", 0, 0, None),
        ("beat 1", "position", 0, 0, None),
        ("120 bpm", "tempo", 0, 0, None),
        ("pedal down, Acoustic Grand Piano", "pedal", 0, 0, None),
        ("Acoustic Grand Piano", "program", 0, 0, None),
        ("C#4", "pitch", 0, 1, 0),
        ("velocity 63", "velocity", 0, 1, 0),
        ("2 beats", "duration", 0, 1, 0),
        ("beat 2", "position", 0.5, 0.5, None),
        # From 1 to 3: half a beat a second up to beat 2, then one.
        ("E4", "pitch", 0.5, 2, 1),
        ("velocity 127", "velocity", 0.5, 2, 1),
        ("2 beats", "duration", 0.5, 2, 1),
        ("bar 2", "bar", 1, 1, None),
        ("3/4", "time signature", 1, 1, None),
        ("beat 1", "position", 1, 1, None),
        ("60 bpm", "tempo", 1, 1, None),
        ("beat 3", "position", 3, 3, None),
        ("240 bpm", "tempo", 3, 3, None),
        ("Drums", "program", 3, 3, None),
        ("Bass Drum 1", "drum", 3, 3.0625, 2),
        ("velocity 127", "velocity", 3, 3.0625, 2),
        ("0.25 beats", "duration", 3, 3.0625, 2),
        ("bar 3", "bar", 3.25, 3.25, None),
        ("3/4", "time signature", 3.25, 3.25, None),
        ("beat 2", "position", 3.5, 3.5, None),
        ("pedal up, Acoustic Grand Piano", "pedal", 3.5, 3.5, None),
        ("Acoustic Grand Piano", "program", 3.5, 3.5, None),
        ("C4", "pitch", 3.5, 3.625, 3),
        ("velocity 63", "velocity", 3.5, 3.625, 3),
        ("0.5 beats", "duration", 3.5, 3.625, 3),
    ]


def test_a_performance_is_described_in_real_time() -> None:
    score = make_score({0: [(0, 2, 60, 63), (1, 0.5, 64, 127)]})
    found = [(token.label, token.kind, token.start, token.end, token.note) for token in described("performance", score)]
    assert found == [
        ("C4", "pitch", 0, 1, 0),
        ("velocity 63", "velocity", 0, 1, 0),
        ("500 ms", "time shift", 0, 0.5, None),
        ("E4", "pitch", 0.5, 0.75, 1),
        ("velocity 127", "velocity", 0.5, 0.75, 1),
        ("250 ms", "time shift", 0.5, 0.75, None),
        ("E4 off", "note off", 0.75, 0.75, 1),
        ("250 ms", "time shift", 0.75, 1, None),
        ("C4 off", "note off", 1, 1, 0),
    ]


@pytest.mark.parametrize("name", ["parts", "remi", "performance"])
def test_the_ids_of_a_note_share_its_number_and_its_span(name: str) -> None:
    groups: dict[int, list[Token]] = {}
    for token in described(name, band()):
        if token.note is not None:
            groups.setdefault(token.note, []).append(token)
    kinds = {"performance": ["pitch", "velocity", "note off"]}.get(name, ["pitch", "velocity", "duration"])
    assert list(groups) == list(range(domain(name).tokenizer.decode(domain(name).tokenizer.encode(band())).note_num()))
    for group in groups.values():
        found = [token.kind.replace("drum", "pitch") for token in group]
        # A score in parts does not repeat a velocity, and its drums have no duration.
        assert found == [kind for kind in kinds if kind in found] if name == "parts" else found == kinds
        assert len({token.start for token in group[:2]}) == 1
        assert len({token.end for token in group}) == 1
        assert group[0].end > group[0].start


@pytest.mark.parametrize("name", ["parts", "remi", "performance"])
def test_spans_never_run_back(name: str) -> None:
    starts = [token.start for token in described(name, band())]
    assert starts == sorted(starts)


def test_special_ids_and_the_beginning_of_a_note_are_described_too() -> None:
    for name in ("remi", "performance"):
        midi = domain(name)
        ids = np.array([[midi.tokenizer.begin], [midi.tokenizer.end], [midi.tokenizer.pad]])
        assert [token.label for (token,) in midi.tokenizer.describe(ids)] == ["begin", "end", "pad"]
        assert {token.kind for (token,) in midi.tokenizer.describe(ids)} == {"special"}
    remi = domain("remi").tokenizer
    ids = remi.encode(SMALL)[:8]
    assert [(token.label, token.note) for (token,) in remi.describe(ids)][-2:] == [("C#4", 0), ("velocity 63", 0)]
    assert [(token.label, token.note) for (token,) in remi.describe(ids[6:])] == [("C#4", 0), ("velocity 63", 0)]
    assert [token.note for (token,) in remi.describe(ids[7:])] == [None]


def test_a_description_counts_from_the_first_id_it_is_given() -> None:
    remi = domain("remi")
    prompt = remi.prompt(SMALL, 1.2)
    assert [token.label for (token,) in remi.tokenizer.describe(prompt.ids)][-1] == "bar 2"


# Transposition


@pytest.mark.parametrize("name", ["remi", "performance"])
def test_variations_transpose_and_leave_all_but_pitches_alone(name: str) -> None:
    midi = domain(name)
    vocabulary = midi.tokenizer.vocabulary()
    families = {"remi": {"Pitch"}, "performance": {"NoteOn", "NoteOff"}}[name]
    variations = midi.variations()
    assert [shift_of(vocabulary, moved) for moved in variations.maps] == [0, *range(-5, 0), *range(1, 7)]
    for moved, valid in zip(variations.maps, variations.valid, strict=True):
        shift = shift_of(vocabulary, moved)
        for i, word in enumerate(vocabulary):
            kind, value = word.split("_")
            if kind not in families:
                assert moved[i] == i
                assert valid[i]
            else:
                assert valid[i] == (0 <= int(value) + shift <= 127)
                if valid[i]:
                    assert vocabulary[moved[i]] == f"{kind}_{int(value) + shift}"


def shift_of(vocabulary: list[str], moved: Ids) -> int:
    at = next(i for i, word in enumerate(vocabulary) if word in ("Pitch_60", "NoteOn_60"))
    return int(vocabulary[moved[at]].split("_")[1]) - 60


@pytest.mark.parametrize("name", ["parts", "remi", "performance"])
def test_a_transposed_piece_decodes_to_transposed_notes_and_the_same_drums(name: str) -> None:
    midi = domain(name)
    score = make_score({0: [(i, 1, 20 + 8 * i, 63) for i in range(8)], DRUMS: [(i, 1, 36, 63) for i in range(8)]})
    ids = midi.tokenizer.encode(score)
    variations = midi.variations()
    plain = note_rows(midi.tokenizer.decode(ids))
    # Those of scores in parts change tempos and velocities too: see `test_midi_parts`.
    step = 30 if name == "parts" else 1
    for moved, valid in zip(variations.maps[::step], variations.valid[::step], strict=True):
        assert valid[ids].all()
        shift = shift_of(midi.tokenizer.vocabulary(), moved)
        assert note_rows(midi.tokenizer.decode(moved[ids])) == [
            (program, onset, length, pitch + (0 if program == DRUMS else shift), velocity)
            for program, onset, length, pitch, velocity in plain
        ]


def test_a_piece_at_the_edge_cannot_be_transposed_over_it() -> None:
    remi = domain("remi")
    ids = remi.tokenizer.encode(make_score({0: [(0, 1, 126, 63)]}))
    valid = remi.variations().valid[:, ids[:, 0]].all(axis=1)
    assert valid.tolist() == [True] * 7 + [False] * 5
    read_remi(names(remi, ids))
