"""Tests of the REMI clock: counting whole sequences equals counting id by id, as the grammar does."""

from __future__ import annotations

import numpy as np
import pytest
from midi_pieces import band, domain, draw, kinds, scale

from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.domain import RemiDomain


@pytest.fixture
def remi() -> RemiDomain:
    found = domain("remi")
    assert isinstance(found, RemiDomain)
    return found


def test_the_grammar_and_the_whole_list_count_the_same_seconds(remi: RemiDomain) -> None:
    prompt, bars = remi.prompt(None), []
    free = remi.grammar(prompt.ids, 8, MidiConstraints(seconds=1e9))
    for grown in draw(free, 300, seed=1, kind_of=kinds(remi), spread=2.0):
        grammar = remi.grammar(prompt.ids, 1, MidiConstraints(seconds=1e9))
        elapsed = []
        for step in grown:
            grammar.advance(step[None])
            elapsed.append(float(grammar.elapsed[0]))
        walked = list(remi.tokenizer.walk(remi.tokenizer.inner(grown)))
        assert [event.seconds for event in walked] == pytest.approx(elapsed)
        bars.append(walked[-1].bar)
    assert max(bars) > 10


def test_the_position_of_an_id_does_not_depend_on_later_ids(remi: RemiDomain) -> None:
    tokenizer = remi.tokenizer
    for ids in (
        tokenizer.encode(band())[:, 0],
        tokenizer.encode(scale())[7:, 0],
        np.random.default_rng(0).integers(0, tokenizer.vocabulary_size, 400),
    ):
        whole = tokenizer.tables.places(ids)
        for length in (1, 2, 3, 10, len(ids) // 2, len(ids) - 1):
            part = tokenizer.tables.places(ids[:length])
            for name in ("tick", "bar", "position", "unit", "program"):
                assert getattr(part, name).tolist() == getattr(whole, name)[:length].tolist()


def test_no_ids_have_no_positions(remi: RemiDomain) -> None:
    assert list(remi.tokenizer.walk([])) == []
