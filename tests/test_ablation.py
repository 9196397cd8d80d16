"""Promises of explaining: weights are those recorded, a split point is what hiding a source from the last layer truly
does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RunCommand
from small_models import CORES, SHORTCUTS, core_config, make_core, random_ids, small_config
from torch import Tensor

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.ablation import SourceSpan, ablate_sources, allowed_at, explain, spans_of
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.trace import Trace, load_trace
from muse_shortcut.model.core import Core
from muse_tokenizers.midi.constraints import MidiConstraints


def _without(core: Core, ids: Tensor, hidden: Tensor) -> Tensor:
    """Logits (K, V) after (1, T, K) ids, with keys and values of (n, T) sources taken away from the last layer."""
    below = core._below(ids, None)
    query, keys, values = core.last.project(below.h, below.depths, below.cos_sin, below.memory)
    query, h, reach = query[:, :, -1], below.h, ~hidden
    if core.last.scope != "context":
        reach[: len(keys) - (core.last.scope == "cross"), :-1] = False
    parts = [(keys[s, 0, :, j], values[s, 0, :, j]) for s, j in reach.nonzero().tolist()]
    seen = torch.zeros_like(query)
    if parts:
        key, value = (torch.stack(part, dim=1) for part in zip(*parts, strict=True))
        scores = torch.einsum("hc,hmc->hm", query[0], key) / query.shape[-1] ** 0.5
        seen = torch.einsum("hm,hmc->hc", scores.softmax(-1), value)[None]
    u = h[:, -1] + core.last.attention.output(seen.flatten(1))
    y = u + core.last.feed_forward(core.last.feed_forward_norm(u))
    outputs = [output[:, -1] for output in below.outputs]
    return core._logits(core._mixed(y, below._replace(outputs=outputs)))[0]


@pytest.mark.parametrize("name", [*CORES])
def test_an_ablation_equals_attention_over_the_remaining_sources(name: str) -> None:
    core = make_core(core_config(name, streams=2))
    ids = random_ids(1, 9, 2)
    n = len(core.config.depths)
    hidden = torch.rand(6, n, 9, generator=torch.Generator().manual_seed(1)) < 0.4
    hidden[0] = False
    with torch.inference_mode():
        output = core.ablate(ids, hidden)
        assert output.weights.shape == (6, 3, n, 9)
        torch.testing.assert_close(output.logits[0], core(ids)[0, -1])
        for number in range(6):
            torch.testing.assert_close(output.logits[number], _without(core, ids, hidden[number]))
            assert not output.weights[number][:, hidden[number]].any()


def test_with_every_source_cut_the_token_is_drawn_from_the_layers_below_alone() -> None:
    core = make_core(small_config(SHORTCUTS["two taps"]))
    ids = random_ids(1, 9, 1)
    hidden = torch.ones(1, 2, 9, dtype=torch.bool)
    with torch.inference_mode():
        output = core.ablate(ids, hidden)
        torch.testing.assert_close(output.logits[0], _without(core, ids, hidden[0]))
        assert output.logits.isfinite().all()
        assert not output.weights.any()


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(random_checkpoint)


@pytest.fixture(scope="module")
def made(checkpoint: Checkpoint, prompt_file: Path) -> tuple[Request, Trace]:
    """A continuation that goes past the context of 192."""
    domain = checkpoint.domain
    prompt = domain.prompt(domain.read(prompt_file), 4.0)
    request = Request(prompt=prompt, seed=5, max_steps=200, constraints=MidiConstraints(bars=1000, key="C major"))
    generation = Generation(checkpoint.core, domain, request)
    for _ in generation:
        pass
    trace = generation.trace(0)
    assert int(trace.first[-1]) > 0
    return request, trace


@pytest.mark.parametrize("step", [0, 7, -1])
def test_a_source_that_is_not_there_changes_nothing_and_the_recorded_chance_is_met(
    checkpoint: Checkpoint, made: tuple[Request, Trace], step: int
) -> None:
    request, trace = made
    step %= trace.steps
    end, first = trace.prompt_steps + step, int(trace.first[step])
    core = checkpoint.core
    allowed = allowed_at(checkpoint.domain, request, trace, step)
    assert allowed is not None
    with torch.inference_mode():
        ids = torch.from_numpy(trace.ids[None, first:end])
        scores = core.ablate(ids, torch.zeros(1, 2, end - first, dtype=torch.bool)).logits[0].double().numpy()
    scores[~allowed] = -np.inf
    nats = scores[0] - np.log(np.exp(scores[0]).sum())
    assert nats[trace.ids[end, 0]] == pytest.approx(float(trace.log_probability[step, 0]), abs=1e-4)
    if first:
        before = SourceSpan(label="", kind="", start=0.0, end=0.0, first=0, stop=first)
        (ablation,) = ablate_sources(core, trace, step, [(None, before)], allowed)
        assert (ablation.weight, ablation.change) == (0.0, (0.0,))


def test_weights_of_an_explanation_are_the_recorded_ones(checkpoint: Checkpoint, made: tuple[Request, Trace]) -> None:
    request, trace = made
    step = trace.steps - 1
    found = explain(checkpoint.core, checkpoint.domain, request, trace, step)
    row = trace.row(step)
    assert [ablation.depth for ablation in found.depths] == trace.depths.tolist()
    np.testing.assert_allclose([ablation.weight for ablation in found.depths], row.sum(1), rtol=1e-4)
    assert sum(ablation.weight for ablation in found.spans) == pytest.approx(float(row.sum()), rel=1e-4)
    assert sum(ablation.weight for ablation in found.cells) == pytest.approx(float(row.sum()), rel=1e-4)
    for ablations in (found.spans, found.cells):
        assert [ablation.weight for ablation in ablations] == sorted(
            (ablation.weight for ablation in ablations), reverse=True
        )
    assert len(found.cells) == len(found.depths) * len(found.spans)
    # Each is scored with the others, in batches: alone it comes to the same.
    ablation = found.cells[3]
    allowed = allowed_at(checkpoint.domain, request, trace, step)
    (alone,) = ablate_sources(checkpoint.core, trace, step, [(ablation.depth, ablation.span)], allowed)
    assert alone.change == pytest.approx(ablation.change, abs=1e-5)
    json.dumps(found.to_json())


def test_the_ids_of_a_note_are_one_source(checkpoint: Checkpoint, made: tuple[Request, Trace]) -> None:
    _, trace = made
    tokens = checkpoint.tokenizer.describe(trace.ids)
    spans = spans_of(tokens)
    assert [spans[0].first, *(span.stop for span in spans)] == [*(span.first for span in spans), len(tokens)]
    for span in spans:
        notes = {tokens[position][0].note for position in range(span.first, span.stop)}
        assert len(notes) == 1
        assert (span.stop - span.first == 1) or notes != {None}
    lengths = [span.stop - span.first for span in spans if span.kind == "pitch"]
    assert set(lengths[:-1]) == {3}  # pitch, velocity, duration


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((9, None), "depth is 9; the last layer attends to 1, 2"),
        (
            (None, SourceSpan(label="", kind="", start=0, end=0, first=3, stop=10**6)),
            "positions 3 to 999999 are not before",
        ),
        ((None, SourceSpan(label="", kind="", start=0, end=0, first=3, stop=3)), "positions 3 to 2 are not before"),
    ],
)
def test_sources_that_cannot_be_are_refused(
    checkpoint: Checkpoint, made: tuple[Request, Trace], source: Any, message: str
) -> None:
    with pytest.raises(ArgumentsError, match=message):
        ablate_sources(checkpoint.core, made[1], 5, [source])


@pytest.mark.parametrize("step", [-1, 10**6])
def test_a_step_that_is_not_there_is_refused(checkpoint: Checkpoint, made: tuple[Request, Trace], step: int) -> None:
    request, trace = made
    with pytest.raises(ArgumentsError, match=f"^step is {step}; allowed: 0 to "):
        explain(checkpoint.core, checkpoint.domain, request, trace, step)
    with pytest.raises(ArgumentsError, match=f"^step is {step}; allowed: 0 to "):
        ablate_sources(checkpoint.core, trace, step, [(None, None)])


# The command


@pytest.fixture
def generate(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> Any:
    def call(*words: object) -> Any:
        out = ("--out", tmp_path / "out", "--sound", "false", "--seed", 5)
        return run("generate", "midi", "--checkpoint", random_checkpoint, *out, *words)

    return call


def test_the_command_explains_a_step_by_number_and_by_time(generate: Any, prompt_file: Path, tmp_path: Path) -> None:
    prompt = ("--prompt", prompt_file, "--prompt-seconds", 4, "--max-new-tokens", 60)
    done = generate(*prompt, "--explain", 12)
    assert done.code == 0, done.err
    assert "step 12: " in done.out
    found = json.loads((tmp_path / "out" / "bach-prelude-1.explain.json").read_text())
    assert found["step"] == 12
    assert {"depths", "spans", "cells", "tokens", "log_probability"} <= set(found)
    done = generate(*prompt, "--explain", "0:03.5")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "bach-prelude-2.explain.json").read_text())
    assert found["tokens"][0]["note"] is not None
    assert found["tokens"][0]["start"] >= 3.5
    assert "is in the prompt" not in done.out
    early = generate(*prompt, "--explain", "0:00.5")
    assert early.code == 0, early.err
    assert "--explain 0:00.5 is in the prompt, which ends at 0:0" in early.out


def test_a_sidecar_can_be_explained_afterwards(
    run: RunCommand, generate: Any, random_checkpoint: Path, tmp_path: Path
) -> None:
    assert generate("--max-new-tokens", 60, "--trace", "false").code == 0
    sidecar = tmp_path / "out" / "from-nothing-1.json"
    words = ("--from-json", sidecar, "--sound", "false", "--explain", 3, "--out", tmp_path / "again")
    done = run("generate", "midi", "--checkpoint", random_checkpoint, *words)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "again" / "from-nothing-1.explain.json").read_text())["step"] == 3
    assert (tmp_path / "again" / "from-nothing-1.mid").read_bytes() == sidecar.with_suffix(".mid").read_bytes()


def test_a_candidate_that_is_too_short_keeps_no_other_from_being_explained(generate: Any, tmp_path: Path) -> None:
    """Of four candidates some end before the step; pictures are drawn of all, explanations written of the rest."""
    words = ("--seconds", 1, "--num-samples", 4, "--picture")
    done = generate(*words)
    assert done.code == 0, done.err
    lengths = [load_trace(path).steps for path in sorted((tmp_path / "out").glob("*.trace.npz"))]
    assert min(lengths) < max(lengths)
    done = generate(*words, "--explain", max(lengths) - 1)
    assert done.code == 2
    assert len([line for line in done.err.splitlines() if line.startswith("muse-generate: ")]) == 1
    written = {path.name for path in (tmp_path / "out").iterdir()}
    for number, steps in enumerate(lengths, 5):
        assert {f"from-nothing-{number}.png", f"from-nothing-{number}.svg"} <= written
        assert (f"from-nothing-{number}.explain.json" in written) == (steps == max(lengths))
        assert (f"from-nothing-{number}: --explain" in done.err) == (steps != max(lengths))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "soon",
            "--explain is 'soon'; allowed: a step from 0 such as 150, or a time in the piece such as 0:31.5 or 31.5",
        ),
        ("-3", "--explain is '-3'; allowed"),
        ("1:75", "--explain is '1:75'; allowed"),
        ("4000", "--explain is 4000; allowed: steps from 0 to 59, since there will be no more"),
        ("9:00", "--explain is 9:00; allowed: 0:00.00 to 0:"),
    ],
)
def test_an_impossible_explanation_gives_one_line_and_loses_no_file(
    generate: Any, tmp_path: Path, word: str, message: str
) -> None:
    done = generate("--max-new-tokens", 60, f"--explain={word}")
    assert done.code == 2
    assert message in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("muse-generate: ")]) == 1
    if word == "9:00":
        # The only one that depends on what was generated.
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            f"from-nothing-1.{ending}" for ending in ("mid", "json", "trace.npz")
        }
    else:
        assert not (tmp_path / "out").exists()
