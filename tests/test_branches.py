"""Tests of branches: forced ids act like sampled ones, and everything after them is generated anew."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.config import SamplingConfig
from muse_shortcut.devices import use_decoding_threads
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.sidecar import read_sidecar, sidecar_text
from muse_shortcut.generation.trace import Trace
from muse_shortcut.shipped import default_checkpoint, prompt_names, shipped_prompt
from muse_tokenizers.base import Ids
from muse_tokenizers.midi.constraints import MidiConstraints

DOMAINS = ("midi", "audio", "text")


@cache
def shipped(kind: str) -> Checkpoint:
    checkpoint = load_checkpoint(default_checkpoint(kind))
    use_decoding_threads(checkpoint.core.parameter_count())
    return checkpoint


def ask(kind: str, **how: Any) -> Request:
    """To go on for a while after the beginning of a shipped prompt."""
    domain, path = shipped(kind).domain, shipped_prompt(kind, prompt_names(kind)[0])
    assert path is not None
    prompt = domain.prompt(domain.read(path), 60 if domain.unit == "bytes" else 2.0)
    endless = domain.constraints_type().with_length(10_000)
    # Both depend on what came before, so they tell whether what is given is remembered as what is drawn would be.
    sampling = SamplingConfig(temperature=1.2, repetition_penalty=1.3, no_repeat_ngram=3)
    return Request(
        **({"prompt": prompt, "sampling": sampling, "constraints": endless, "max_steps": 40, "seed": 4} | how)
    )


def run(kind: str, request: Request) -> tuple[Generation, Ids]:
    """A whole generation, and all ids (C, S, K) that it drew, also those it does not keep."""
    generation = Generation(shipped(kind).core, shipped(kind).domain, request)
    return generation, np.stack([event.ids for event in generation], axis=1)


def assert_equal_traces(one: Trace, other: Trace) -> None:
    for field in fields(Trace):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


@pytest.mark.parametrize("kind", DOMAINS)
def test_forcing_the_sampled_ids_changes_nothing(kind: str) -> None:
    request = ask(kind)
    first, drawn = run(kind, request)
    assert len(first.continuations()[0]) > 25
    # All of it; up to the middle, from where the random stream goes on as if it had been used; and nothing.
    for settled in (40, 17, 0):
        again, _ = run(kind, replace(request, forced_ids=drawn[0, :settled]))
        np.testing.assert_array_equal(again.continuations()[0], first.continuations()[0])
        assert again.log_probabilities() == first.log_probabilities()
        assert_equal_traces(again.trace(0), first.trace(0))


def test_the_seed_affects_only_ids_after_the_forced_ones() -> None:
    request = ask("midi")
    _, drawn = run("midi", request)
    _, other = run("midi", replace(request, forced_ids=drawn[0, :20], seed=5))
    np.testing.assert_array_equal(other[0, :20], drawn[0, :20])
    assert (other[0, 20:] != drawn[0, 20:]).any()


def test_forced_ids_fill_the_cache_like_a_prompt() -> None:
    """By what counts how often something was said: here every pair of ids is new, and what was said is said less."""
    greedy = SamplingConfig(greedy=True, no_repeat_ngram=2, repetition_penalty=2.0)
    _, given = run("text", ask("text", seed=9, max_steps=16))
    request = ask("text", sampling=greedy, forced_ids=given[0], max_steps=56)
    _, found = run("text", request)
    longer = replace(request.prompt, ids=np.concatenate([request.prompt.ids, given[0]]))
    _, expected = run("text", replace(request, prompt=longer, forced_ids=None, max_steps=40))
    np.testing.assert_array_equal(found[0, 16:], expected[0])


def test_candidates_share_the_prompt_and_diverge_after_it() -> None:
    request = ask("text", candidates=3)
    _, drawn = run("text", request)
    _, branched = run("text", replace(request, forced_ids=drawn[1, :12]))
    for ids in branched:
        np.testing.assert_array_equal(ids[:12], drawn[1, :12])
    np.testing.assert_array_equal(branched[1], drawn[1])
    assert len({ids[12:].tobytes() for ids in branched}) == 3


@pytest.mark.parametrize("kind", DOMAINS)
def test_a_branch_equals_the_first_up_to_its_step_and_has_the_probability_of_the_alternative(kind: str) -> None:
    request = ask(kind)
    first, _ = run(kind, request)
    trace, ids = first.trace(0), first.continuations()[0]
    tried = 0
    for step in (0, 9, 16):
        for stream in range(ids.shape[1]):
            others = [
                (int(other), float(nats))
                for other, nats in zip(
                    trace.alternatives[step, stream], trace.alternative_log_probability[step, stream], strict=True
                )
                if other >= 0 and other not in (ids[step, stream], shipped(kind).tokenizer.end)
            ]
            # The least of the five: likely ones are what any mistake would find.
            for other, nats in others[-1:]:
                given = ids[: step + 1].copy()
                given[step, stream] = other
                branch, _ = run(kind, replace(request, forced_ids=given))
                found, its = branch.continuations()[0], branch.trace(0)
                assert len(found) > step
                np.testing.assert_array_equal(found[:step], ids[:step])
                assert found[step, stream] == other
                assert its.log_probability[step, stream] == pytest.approx(nats, abs=1e-5)
                # The row of a step is what was seen before it: one and the same in both.
                np.testing.assert_array_equal(its.row(step), trace.row(step))
                np.testing.assert_array_equal(its.alternatives[step], trace.alternatives[step])
                tried += 1
    assert tried >= 3


@pytest.mark.parametrize("kind", DOMAINS)
def test_forced_ids_that_the_grammar_forbids_are_refused(kind: str) -> None:
    domain, request = shipped(kind).domain, ask(kind)
    _, drawn = run(kind, request)
    for step in (0, 7):
        given = drawn[0, :12].copy()
        given[step, -1] = domain.tokenizer.begin
        with pytest.raises(ArgumentsError, match=rf"^id \d+ \(.*\) is not allowed at step {step}: the grammar of "):
            run(kind, replace(request, forced_ids=given))


def test_a_note_without_its_duration_cannot_be_forced() -> None:
    request, domain = ask("midi"), shipped("midi").domain
    _, drawn = run("midi", request)
    names = domain.tokenizer.vocabulary()
    step = next(s for s in range(5, 40) if names[drawn[0, s, 0]].startswith("Duration"))
    given = np.delete(drawn[0], step, axis=0)
    with pytest.raises(ArgumentsError, match=rf"^id \d+ \(.*\) is not allowed at step {step}: "):
        run("midi", replace(request, forced_ids=given))


@pytest.mark.parametrize("kind", DOMAINS)
def test_a_branch_can_be_made_again_from_its_sidecar(kind: str, tmp_path: Path) -> None:
    domain = shipped(kind).domain
    _, drawn = run(kind, ask(kind))
    request = ask(kind, forced_ids=drawn[0, :10], seed=11, max_steps=20)
    made, _ = run(kind, request)
    path = tmp_path / "branch-1.json"
    text = sidecar_text(
        domain,
        request,
        checkpoint="",
        candidate=0,
        ids=made.continuations()[0],
        log_probability=made.log_probabilities()[0],
        name="branch",
        source=None,
        sound=None,
    )
    path.write_text(text, encoding="utf-8")
    again = read_sidecar(path, domain)
    assert again.request.forced_ids is not None
    assert again.request.forced_ids.dtype == np.int64
    np.testing.assert_array_equal(again.request.forced_ids, drawn[0, :10])
    repeated, _ = run(kind, again.request)
    np.testing.assert_array_equal(repeated.continuations()[0], again.ids)
    assert repeated.log_probabilities() == made.log_probabilities()
    # Those that were written before there were branches.
    content = json.loads(text)
    del content["forced_ids"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_sidecar(path, domain).request.forced_ids is None
    if kind == "midi":
        # Those from before the second edition of the rules keep to the first.
        assert isinstance(again.request.constraints, MidiConstraints)
        assert again.request.constraints.rules == 2
        del content["constraints"]["rules"]
        path.write_text(json.dumps(content), encoding="utf-8")
        assert read_sidecar(path, domain).request.constraints == replace(again.request.constraints, rules=1)
    # And those from before there was a choice are as loud as they were.
    assert again.request.prompt.gain == request.prompt.gain
    del content["prompt"]["gain"]
    content["sound"] = {"soundfont": "TimGM6mb.sf2", "sha256": ""}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert (read_sidecar(path, domain).request.prompt.gain, read_sidecar(path, domain).loudness) == (1.0, None)
    content["sound"]["loudness"] = -20
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_sidecar(path, domain).loudness == -20.0
    for changed in ({"sound": {"loudness": "loud"}}, {"sound": {"loudness": 1e30}}, {"constraints": {"tempo": "x"}}):
        damaged = {name: content[name] | value for name, value in changed.items()}
        path.write_text(json.dumps(content | damaged), encoding="utf-8")
        with pytest.raises(ArgumentsError, match=r"^[^\n]+ is not a complete sidecar: [^\n]+$"):
            read_sidecar(path, domain)
    for damaged in ([[-1] * domain.tokenizer.streams], [[10**9] * domain.tokenizer.streams], [["x"]], {}, "many"):
        path.write_text(json.dumps(content | {"forced_ids": damaged}), encoding="utf-8")
        with pytest.raises(ArgumentsError, match=r"^[^\n]+ is not a complete sidecar: [^\n]+$"):
            read_sidecar(path, domain)


@pytest.mark.parametrize("kind", DOMAINS)
def test_depth_shares_can_be_had_while_a_trace_grows(kind: str) -> None:
    request = ask(kind, candidates=2)
    generation = Generation(shipped(kind).core, shipped(kind).domain, request)
    told: list[list[Any]] = [[], []]
    for event in generation:
        if event.step % 7 == 3:
            for number in range(2):
                since = sum(len(part) for part in told[number])
                told[number].append(generation.depth_shares(number, since))
                assert since + len(told[number][-1]) == event.step + 1
    for number in range(2):
        expected = generation.trace(number).depth_share
        since = sum(len(part) for part in told[number])
        whole = np.concatenate([*told[number], generation.depth_shares(number, since)])
        np.testing.assert_array_equal(whole[: len(expected)], expected)
        np.testing.assert_array_equal(generation.depth_shares(number)[: len(expected)], expected)
        assert len(whole) == generation.steps
        assert generation.depth_shares(number, generation.steps).shape[:2] == (0, expected.shape[1])
    assert (generation.depth_shares(0) != generation.depth_shares(1)).any()
