"""Tests of all tokenizers: prompts, joining, and the ids that may follow."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import numpy as np
import pytest
from all_tokenizers import Example
from midi_pieces import draw, grow, note_rows, seconds_at

from muse_tokenizers.base import Constraints, Ids, Prompt
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import TokenizerError
from muse_tokenizers.midi.domain import PartsDomain

pytest_plugins = ["all_tokenizers"]


# Continuing


def test_no_piece_gives_nothing_but_begin(some: Domain[Any]) -> None:
    prompt = some.prompt(None)
    assert prompt.ids.tolist() == [[some.tokenizer.begin] * some.tokenizer.streams]
    assert prompt.ids.dtype == np.int64
    assert (prompt.piece, prompt.split_point, prompt.split_index) == (None, 0.0, 0)


def without_header(some: Domain[Any], ids: Ids) -> Ids:
    """Return ids without those of scores in parts that are relative to a whole: its header and tempos."""
    if not isinstance(some, PartsDomain):
        return ids
    names = some.tokenizer.vocabulary()
    return np.array([[i] for (i,) in ids if not names[i].startswith(("Origin", "Style", "BaseTempo", "Tempo"))])


def test_a_prompt_is_the_beginning_of_the_ids_of_its_piece(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        ids = some.tokenizer.encode(piece)
        for seconds in (0.5, 2.0, 5.0):
            prompt = some.prompt(piece, seconds)
            assert prompt.ids[0].tolist() == [some.tokenizer.begin] * some.tokenizer.streams
            given, whole = (without_header(some, one) for one in (prompt.ids[1:], ids))
            assert given.tolist() == whole[: len(given)].tolist()


def test_a_longer_prompt_is_no_shorter_in_ids(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        prompts = [some.prompt(piece, seconds) for seconds in np.arange(0.25, 12, 0.5)]
        lengths, split_points = [len(prompt.ids) for prompt in prompts], [prompt.split_point for prompt in prompts]
        assert lengths == sorted(lengths)
        assert split_points == sorted(split_points)


def test_nothing_joined_to_a_prompt_is_the_prompts_piece(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        prompt = some.prompt(piece, 3.0)
        nothing = np.zeros((0, some.tokenizer.streams), dtype=np.int64)
        joined, kept = some.join(prompt, nothing), prompt.piece
        assert some.duration(joined) == pytest.approx(some.duration(kept))
        if not some.steps_per_second:
            # Sound is decoded.
            assert some.tokenizer.encode(joined).tolist() == some.tokenizer.encode(kept).tolist()


def test_joining_leaves_the_prompt_as_it_is(some: Domain[Any], example: Example) -> None:
    piece = example.pieces()[0]
    prompt = some.prompt(piece, 3.0)
    before = some.dumps(prompt.piece)
    ids = draw(grammar_after(some, prompt), 60, seed=1)[0]
    assert some.dumps(some.join(prompt, ids)) == some.dumps(some.join(prompt, ids))
    assert some.dumps(prompt.piece) == before


def grammar_after(
    some: Domain[Any], prompt: Prompt[Any], candidates: int = 1, constraints: Constraints | None = None
) -> Any:
    grammar = some.grammar(prompt.ids, candidates, constraints, prompt.partial_frames)
    if grammar is None:
        pytest.skip("a domain without a grammar")
    return grammar


def test_the_grammar_accepts_every_piece(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        grammar = grammar_after(some, some.prompt(None))
        for step in some.tokenizer.encode(piece):
            assert grammar.allowed()[0, np.arange(some.tokenizer.streams), step].all()
            grammar.advance(step[None])
        assert grammar.complete[0]
        assert grammar.allowed()[0, :, some.tokenizer.end].all()


def test_the_grammar_ends_with_the_end_and_goes_on_with_padding(some: Domain[Any], example: Example) -> None:
    grammar = grammar_after(some, some.prompt(None))
    for step in some.tokenizer.encode(example.pieces()[0]):
        grammar.advance(step[None])
    for i in (some.tokenizer.end, some.tokenizer.pad, some.tokenizer.pad):
        grammar.advance(np.full((1, some.tokenizer.streams), i))
        assert grammar.finished[0]
        allowed = grammar.allowed()[0]
        assert allowed[:, some.tokenizer.pad].all()
        assert allowed.sum() == some.tokenizer.streams


def test_begin_and_padding_are_never_drawn_in_a_piece(some: Domain[Any]) -> None:
    endless = some.constraints_type().with_length(10**9)
    ids = draw(grammar_after(some, some.prompt(None), 4, endless), 400, seed=0)
    assert not np.isin(ids, [some.tokenizer.begin, some.tokenizer.end]).any()
    assert not (ids[:, some.tokenizer.streams - 1 :] == some.tokenizer.pad).any()


def test_a_grammar_has_the_promised_shapes(some: Domain[Any]) -> None:
    grammar = grammar_after(some, some.prompt(None), 3)
    allowed = grammar.allowed()
    assert allowed.shape == (3, some.tokenizer.streams, some.tokenizer.vocabulary_size)
    assert allowed.dtype == bool
    for state in (grammar.complete, grammar.finished, grammar.elapsed):
        assert state.shape == (3,)
    assert not grammar.finished.any()


def test_the_returned_mask_can_be_modified(some: Domain[Any]) -> None:
    grammar = grammar_after(some, some.prompt(None), 2)
    first = grammar.allowed()
    copy = first.copy()
    first[:] = False
    assert (grammar.allowed() == copy).all()


def test_elapsed_counts_from_the_cut(some: Domain[Any], example: Example) -> None:
    prompt = some.prompt(example.pieces()[0], 3.0)
    grammar = grammar_after(some, prompt, 2)
    assert np.isnan(grammar.elapsed).all() or (grammar.elapsed == 0).all()


# Going on from a continuation


def continued(some: Domain[Any], prompt: Prompt[Any], steps: int, seed: int = 3) -> Ids:
    """(T, K) ids that a generation would keep: up to the last step at which nothing is left dangling."""
    endless = some.constraints_type().with_length(10**6)
    if not steps:
        return np.zeros((0, some.tokenizer.streams), dtype=np.int64)
    return grow(some.grammar(prompt.ids, 1, endless, prompt.partial_frames), steps, seed)[0]  # type: ignore[arg-type]


def test_a_continuation_can_be_the_prompt_of_a_further_one(some: Domain[Any], example: Example) -> None:
    nothing = np.zeros((0, some.tokenizer.streams), dtype=np.int64)
    for piece, steps in itertools.product((None, *example.pieces()), (0, 1, 2, 3, 70)):
        prompt = some.prompt(piece, None if piece is None else 2.0)
        ids = continued(some, prompt, steps)
        joined = some.join(prompt, ids)
        if some.kind == "midi" and not note_rows(joined):
            continue
        extended = some.extended(prompt, ids)
        assert extended.ids[0].tolist() == [some.tokenizer.begin] * some.tokenizer.streams
        again = some.join(extended, nothing)
        if some.steps_per_second is not None:
            # Of sound nothing is encoded once more.
            assert extended.ids.tolist() == np.concatenate([prompt.ids, ids]).tolist()
            assert extended.partial_frames is not None
            assert prompt.partial_frames is not None
            assert extended.partial_frames.tolist() == prompt.partial_frames[len(ids) :].tolist()
            np.testing.assert_allclose(again.samples, joined.samples, atol=1e-4)
            assert extended.split_index == joined.samples.shape[1]
            assert extended.split_point == pytest.approx(some.duration(joined))
        elif some.unit == "bytes":
            assert again == joined
            assert extended.split_point == extended.split_index == len(joined)
        else:
            assert some.tokenizer.encode(again).tolist() == some.tokenizer.encode(joined).tolist()
            # Only ticks may have become shorter.
            finer = again.ticks_per_quarter / joined.ticks_per_quarter
            rows = [(program, at * finer, long * finer, *rest) for program, at, long, *rest in note_rows(joined)]
            assert [tuple(row) for row in note_rows(again)] == rows
            # Up to the end of the bar, or to the last event: whatever rings on later, every note has begun.
            last = some.tokenizer.describe(some.tokenizer.encode(joined))[-1][0]
            assert last.start - 1e-6 <= extended.split_point <= last.end + 10
            assert max(onset for _, onset, *_ in note_rows(joined)) <= extended.split_index
            assert extended.split_point == pytest.approx(float(seconds_at(joined, extended.split_index)), abs=0.02)


def test_a_continuation_in_which_nothing_was_heard_yet_is_extended_or_refused(some: Domain[Any]) -> None:
    prompt = some.prompt(None)
    for steps in range(8):
        ids = continued(some, prompt, steps)
        with contextlib.suppress(TokenizerError):
            extended = some.extended(prompt, ids)
            assert (grammar_after(some, extended).elapsed == 0).all()


def test_an_extended_prompt_continues_with_its_grammar(some: Domain[Any], example: Example) -> None:
    prompt = some.prompt(example.pieces()[0], 2.0)
    for _ in range(3):
        ids = continued(some, prompt, 50)
        extended = some.extended(prompt, ids)
        assert extended.split_point > prompt.split_point
        assert len(extended.ids) > len(prompt.ids)
        grammar = grammar_after(some, extended)
        assert np.isnan(grammar.elapsed).all() or (grammar.elapsed == 0).all()
        assert not grammar.finished.any()
        more = continued(some, extended, 50)
        # To what was there before, the further one adds and changes nothing.
        longer, before = some.join(extended, more), some.join(prompt, ids)
        if some.kind == "midi":
            # In quarters: a faster tempo shortens the notes that are held across the split point.
            assert longer.end() / longer.ticks_per_quarter >= before.end() / before.ticks_per_quarter
        else:
            assert some.duration(longer) > some.duration(before)
        if some.unit == "bytes":
            assert longer.startswith(before)
        elif some.steps_per_second is not None:
            length = before.samples.shape[1]
            np.testing.assert_allclose(longer.samples[:, :length], before.samples, atol=1e-4)
        else:
            assert len(note_rows(longer)) >= len(note_rows(before))
        prompt = extended


def test_ids_after_an_end_extend_nothing(some: Domain[Any], example: Example) -> None:
    prompt = some.prompt(example.pieces()[0], 2.0)
    ids = continued(some, prompt, 40)
    ends = np.concatenate([ids, np.full((1, some.tokenizer.streams), some.tokenizer.end)])
    plain, ended = some.extended(prompt, ids), some.extended(prompt, ends)
    assert ended.ids.tolist() == plain.ids.tolist()
    assert (ended.split_point, ended.split_index) == (plain.split_point, plain.split_index)


def test_the_label_of_another_id_is_the_one_it_would_have_in_its_place(some: Domain[Any], example: Example) -> None:
    random = np.random.default_rng(0)
    piece = example.pieces()[-1]
    ids = np.concatenate([some.prompt(None).ids, some.tokenizer.encode(piece)])
    for place in (0, 1, 2, 7, 20, min(150, len(ids))):
        for stream in range(some.tokenizer.streams):
            grammar = grammar_after(some, some.prompt(None))
            for step in ids[1:place]:
                grammar.advance(step[None])
            allowed = np.flatnonzero(grammar.allowed()[0, stream])
            others = [*random.permutation(allowed)[:20], *random.integers(0, some.tokenizer.vocabulary_size, 20)]
            others += [some.tokenizer.pad, some.tokenizer.begin, some.tokenizer.end, *np.unique(ids[:, stream])[:40]]
            expected = []
            for other in others:
                instead = np.concatenate([ids[:place], np.full((1, some.tokenizer.streams), some.tokenizer.pad)])
                instead[place, stream] = other
                expected.append(some.tokenizer.describe(instead)[place][stream].label)
            assert some.labels_after(ids[:place], stream, [int(other) for other in others]) == expected
    assert some.labels_after(ids[:5], 0, []) == []
