"""What a continuation in parts holds: a bias leads it back to the prompt, and is nothing without a deviation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from midi_pieces import domain, make_score
from numpy.typing import NDArray

from muse_tokenizers.built_in import ANCHORS
from muse_tokenizers.errors import InvalidConstraintError
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.parts_vocabulary import PartsKind, PartsTables

PARTS = domain("parts")
TABLES: PartsTables = PARTS.tokenizer.tables
BARS = 4


def prompt() -> Any:
    """Eight quarters of a piano and of a violin in every four bars, soft and in the middle."""
    piano = [(beat, 1, 60 + beat % 3, 60) for beat in range(4 * BARS)]
    violin = [(beat, 1, 72 + beat % 3, 60) for beat in range(4 * BARS)]
    return PARTS.prompt(make_score({0: piano, 40: violin}))


def grammar(*names: str) -> Any:
    made = prompt()
    constraints = replace(PARTS.default_constraints(), silence=None, repeats=None, hold=names)
    return PARTS.grammar(made.ids, 1, constraints, clock=made.clock)


def bias_of(made: Any) -> Any:
    """The bias for equal logits."""
    logits = np.zeros((len(made.finished), 1, PARTS.tokenizer.vocabulary_size), dtype=np.float32)
    return made.bias(logits, made.allowed())


def take(made: Any, *tokens: tuple[PartsKind, int]) -> None:
    for kind, number in tokens:
        at = TABLES.ids[kind]
        found = at[TABLES.number[at] == number][0]
        assert made.allowed()[0, 0, found], (kind, number)
        made.advance(np.array([[found]]))


def of_kind(bias: NDArray[np.float64], kind: PartsKind) -> NDArray[np.float64]:
    return bias[0, 0, TABLES.ids[kind]]


def note(pitch: int, *velocity: int) -> list[tuple[PartsKind, int]]:
    return [(PartsKind.Pitch, pitch), *((PartsKind.Velocity, one) for one in velocity), (PartsKind.Duration, 11)]


def test_without_a_deviation_there_is_no_bias() -> None:
    made = grammar("dynamics", "register", "balance")
    take(made, (PartsKind.Position, 0), (PartsKind.Program, 0))
    bias = bias_of(made)
    assert bias is None or np.abs(bias).max() < 1e-9


def test_nothing_is_held_if_nothing_is_asked_for() -> None:
    made = grammar()
    take(made, (PartsKind.Position, 0), (PartsKind.Program, 0), *note(61, 127), *note(62), (PartsKind.Pitch, 100))
    assert bias_of(made) is None


def test_a_player_who_may_not_play_is_replaced_by_those_who_may() -> None:
    made = grammar()
    take(made, (PartsKind.Position, 0), (PartsKind.Program, 0), *note(61, 127))
    logits = np.full((1, 1, PARTS.tokenizer.vocabulary_size), -20.0, dtype=np.float32)
    programs, drum = TABLES.ids[PartsKind.Program], TABLES.first[PartsKind.Pitch] + 64
    # The model expects a viola, which the prompt does not have, rather than another note of the piano.
    logits[0, 0, programs[41]], logits[0, 0, programs[40]], logits[0, 0, drum] = 3.0, -6.0, 0.0
    scores = logits + made.bias(logits, made.allowed())
    scores[~made.allowed()] = -np.inf
    assert scores[0, 0].argmax() == programs[40]
    np.testing.assert_allclose(scores[0, 0, programs[40]], np.logaddexp(3.0, -6.0), rtol=1e-5)


def test_after_loud_notes_softer_ones_are_likelier() -> None:
    made = grammar("dynamics")
    take(made, (PartsKind.Position, 0), (PartsKind.Program, 0), *note(61, 119), *note(62), (PartsKind.Pitch, 63))
    velocities = of_kind(bias_of(made), PartsKind.Velocity)
    assert (np.diff(velocities) <= 0).all()
    assert velocities[0] > 0 > velocities[-1]


def test_after_high_notes_lower_ones_are_likelier() -> None:
    made = grammar("register")
    take(made, (PartsKind.Position, 0), (PartsKind.Program, 0), *note(108), *note(110))
    pitches = of_kind(bias_of(made), PartsKind.Pitch)
    assert (np.diff(pitches) <= 0).all()
    assert pitches[30] > 0 > pitches[120]


def test_after_many_notes_time_passes_more_quickly_and_after_few_more_slowly() -> None:
    dense, sparse = grammar("density"), grammar("density")
    take(
        dense, (PartsKind.Position, 0), (PartsKind.Program, 0), *(one for pitch in range(30, 90) for one in note(pitch))
    )
    assert (np.diff(of_kind(bias_of(dense), PartsKind.Position)) >= 0).all()
    assert of_kind(bias_of(dense), PartsKind.Bar)[0] > 0
    take(sparse, (PartsKind.Bar, 0), (PartsKind.Bar, 0), (PartsKind.Bar, 0), (PartsKind.Bar, 0))
    assert (np.diff(of_kind(bias_of(sparse), PartsKind.Position)) <= 0).all()
    assert of_kind(bias_of(sparse), PartsKind.Bar)[0] < 0


def test_the_instrument_that_has_played_less_is_likelier() -> None:
    made = grammar("balance")
    take(
        made, (PartsKind.Position, 0), (PartsKind.Program, 0), *(one for pitch in range(30, 50) for one in note(pitch))
    )
    bias = bias_of(made)
    assert of_kind(bias, PartsKind.Program)[40] > 0 > of_kind(bias, PartsKind.Program)[0]
    assert (of_kind(bias, PartsKind.Pitch) < 0).all()


def test_the_prompt_alone_decides_without_a_prompt_nothing_is_held() -> None:
    empty = PARTS.prompt(None)
    made = PARTS.grammar(empty.ids, 2, replace(PARTS.default_constraints(), hold=ANCHORS), clock=empty.clock)
    assert bias_of(made) is None


@pytest.mark.parametrize("name", ["remi", "performance"])
@pytest.mark.parametrize("asked", [{"hold": ("density",)}, {"style": "piano"}])
def test_other_vocabularies_refuse_what_only_parts_has(name: str, asked: dict[str, Any]) -> None:
    other = domain(name)
    with pytest.raises(InvalidConstraintError, match="none with this checkpoint's vocabulary"):
        other.grammar(other.prompt(None).ids, 1, MidiConstraints(**asked))
