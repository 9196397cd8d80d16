"""Tests of generation: the cache changes nothing, seeds decide everything, continuations end complete."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.output_names import free_number
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.sampling import Sampler
from muse_tokenizers.midi.constraints import MidiConstraints


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(random_checkpoint)


def _run(checkpoint: Checkpoint, **fields: Any) -> Generation:
    prompt = fields.pop("prompt", checkpoint.domain.prompt(None))
    generation = Generation(checkpoint.core, checkpoint.domain, Request(prompt=prompt, **fields))
    for _ in generation:
        pass
    return generation


def _prompt(checkpoint: Checkpoint, path: Path, seconds: float | None = None) -> Any:
    return checkpoint.domain.prompt(checkpoint.domain.read(path), seconds)


def test_the_same_seed_gives_the_same_ids(checkpoint: Checkpoint) -> None:
    first, second = (_run(checkpoint, seed=4, max_steps=60, candidates=2) for _ in range(2))
    for one, other in zip(first.continuations(), second.continuations(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_other_ids(checkpoint: Checkpoint) -> None:
    first, second = (_run(checkpoint, seed=seed, max_steps=60).continuations()[0] for seed in (4, 5))
    assert first.shape != second.shape or (first != second).any()


def test_the_cache_equals_recomputation(checkpoint: Checkpoint, prompt_file: Path) -> None:
    prompt = _prompt(checkpoint, prompt_file, 6.7)
    request = Request(prompt=prompt, seed=1, max_steps=20, sampling=SamplingConfig(temperature=1.3))
    generation = Generation(checkpoint.core, checkpoint.domain, request)
    grammar = checkpoint.domain.grammar(prompt.ids, 1)
    sampler = Sampler(request.sampling, 1, prompt.ids[None])
    ids = prompt.ids
    assert len(ids) + 20 < checkpoint.core.config.context
    for event in generation:
        with torch.inference_mode():
            logits = checkpoint.core(torch.from_numpy(ids)[None])[:, -1].numpy()
        expected, _ = sampler.draw(logits, grammar.allowed())
        np.testing.assert_array_equal(event.ids, expected)
        grammar.advance(expected)
        ids = np.concatenate([ids, expected])


def test_generation_goes_on_past_the_context(checkpoint: Checkpoint) -> None:
    context = checkpoint.core.config.context
    generation = _run(checkpoint, seed=0, max_steps=3 * context, constraints=MidiConstraints(bars=10_000), candidates=2)
    assert generation.steps == 3 * context
    score = checkpoint.tokenizer.decode(generation.continuations()[0])
    assert score.note_num() > 0


def test_a_prompt_longer_than_the_context_is_read_from_its_end(checkpoint: Checkpoint, prompt_file: Path) -> None:
    prompt = _prompt(checkpoint, prompt_file)
    assert len(prompt.ids) > checkpoint.core.config.context
    assert _run(checkpoint, prompt=prompt, seed=0, max_steps=8).steps == 8


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13, 40])
def test_wherever_one_stops_every_note_is_whole(checkpoint: Checkpoint, steps: int) -> None:
    generation = _run(checkpoint, seed=2, max_steps=steps, candidates=3)
    kinds = checkpoint.tokenizer.vocabulary()
    for ids in generation.continuations():
        names = [kinds[i].split("_")[0] for i in ids[:, 0]]
        notes = names.count("Pitch") + names.count("PitchDrum")
        assert names.count("Duration") == notes
        assert checkpoint.tokenizer.decode(ids).note_num() == notes


def test_candidates_stop_each_at_its_own_end(checkpoint: Checkpoint) -> None:
    generation = _run(checkpoint, seed=1, candidates=4, constraints=MidiConstraints(seconds=3.0))
    for ids in generation.continuations():
        score = checkpoint.tokenizer.decode(ids).to("second")
        assert all(note.time < 3.0 for track in score.tracks for note in track.notes)


def test_the_events_add_up_to_the_continuation(checkpoint: Checkpoint) -> None:
    request = Request(prompt=checkpoint.domain.prompt(None), seed=3, max_steps=50, candidates=2)
    generation = Generation(checkpoint.core, checkpoint.domain, request)
    events = list(generation)
    assert [event.step for event in events] == list(range(len(events)))
    for candidate, ids in enumerate(generation.continuations()):
        np.testing.assert_array_equal(np.stack([event.ids[candidate] for event in events])[: len(ids)], ids)
    assert all((later.elapsed >= earlier.elapsed).all() for earlier, later in itertools.pairwise(events))
    assert all((event.log_probabilities <= 0).all() for event in events)


def test_stopping_early_keeps_the_steps_so_far(checkpoint: Checkpoint) -> None:
    request = Request(prompt=checkpoint.domain.prompt(None), seed=3, max_steps=50)
    generation = Generation(checkpoint.core, checkpoint.domain, request)
    for event in generation:
        if event.step == 30:
            break
    assert 0 < len(generation.continuations()[0]) <= 31


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"candidates": 0}, "num_samples is 0; allowed: 1 to 64"),
        ({"candidates": 65}, "num_samples is 65; allowed: 1 to 64"),
        ({"seed": -1}, "seed is -1; allowed: 0 to"),
        ({"max_steps": 0}, "max_new_tokens is 0; allowed: more than 0"),
        ({"constraints": MidiConstraints(seconds=-1.0)}, "seconds is -1.0; allowed: more than 0"),
        ({"constraints": MidiConstraints(seconds=float("nan"))}, "seconds is nan; allowed: more than 0"),
        ({"constraints": MidiConstraints(bars=0)}, "bars is 0; allowed: more than 0"),
        ({"constraints": MidiConstraints(tempo=float("inf"))}, "tempo is inf; allowed: more than 0"),
    ],
)
def test_an_impossible_request_is_refused_by_name(checkpoint: Checkpoint, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentsError, match=message):
        Request(prompt=checkpoint.domain.prompt(None), **fields)


def test_outputs_are_numbered_after_those_that_are_there(tmp_path: Path) -> None:
    assert free_number(tmp_path, "a") == 1
    for name in ("a-1.mid", "a-7.json", "b-9.mid", "a-x.mid"):
        (tmp_path / name).touch()
    assert free_number(tmp_path, "a") == 8
    assert free_number(tmp_path, "b") == 10
    (tmp_path / "v1.2-3.mid").touch()
    assert free_number(tmp_path, "v1.2") == 4
    (tmp_path / "v1.2-5.trace.npz").touch()
    (tmp_path / "v1x2-9.mid").touch()
    assert free_number(tmp_path, "v1.2") == 6
