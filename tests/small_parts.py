"""Scores in parts, made by hand or at random, and random continuations of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from midi_pieces import domain as domain_named
from midi_pieces import grow, kinds, make_score
from symusic import Note, Pedal, Track

from muse_tokenizers.base import Ids, Prompt
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.domain import PartsDomain


def domain() -> PartsDomain:
    found = domain_named("parts")
    assert isinstance(found, PartsDomain)
    return found


def random_score(
    seed: int, ticks_per_quarter: int = 480, *, tempos: Sequence[tuple[float, float]] = ((0, 97.3),)
) -> Any:
    """Return two violins, one of them twice, a piano with a pedal, and drums, at any ticks."""
    random = np.random.default_rng(seed)
    score = make_score({}, ticks_per_quarter=ticks_per_quarter, tempos=tempos, signatures=[(0, 3, 4), (6, 9, 8)])
    for program, is_drum in ((40, False), (0, False), (40, False), (0, True), (40, False)):
        track = Track(program=program, is_drum=is_drum, name="")
        for tick in np.sort(random.integers(0, 24 * ticks_per_quarter, 60)):
            pitch, velocity = int(random.integers(36, 90)), int(random.integers(1, 128))
            track.notes.append(Note(int(tick), int(random.integers(1, 3 * ticks_per_quarter)), pitch, velocity))
        score.tracks.append(track)
    for start in range(0, 20, 3):
        score.tracks[1].pedals.append(Pedal(start * ticks_per_quarter + seed, 2 * ticks_per_quarter))
    return score


def grown(
    prompt: Prompt[Any], constraints: MidiConstraints, seed: int = 0, taste: float = 1.0, steps: int = 1200
) -> Ids:
    grammar = domain().grammar(prompt.ids, 1, constraints, clock=prompt.clock)
    return grow(grammar, steps, seed, kinds(domain()), taste)[0]


def continued(piece: Any, seconds: float | None, constraints: MidiConstraints, seed: int = 0) -> tuple[Any, Any]:
    """Return the prompt, and the joined score."""
    prompt = domain().timed(domain().prompt(piece, seconds), constraints)
    return prompt, domain().join(prompt, grown(prompt, constraints, seed))


def ids_of(text: str) -> Ids:
    vocabulary = domain().tokenizer.vocabulary()
    words = [word if "_" in word else f"{word}_None" for word in text.split()]
    return np.array([vocabulary.index(word) for word in words])[:, None]


def quartet() -> Any:
    """Return violins on tracks 0 and 2, of which the first one has nothing to say at first."""
    score = make_score({40: [(beat, 1, 70 + beat % 5, 80) for beat in range(8)], 42: [(0, 8, 40, 60)]})
    second = make_score({40: [(beat, 1, 60 + beat % 5, 70) for beat in range(8)]})
    score.tracks.append(second.tracks[0])
    return score
