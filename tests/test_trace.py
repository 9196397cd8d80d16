"""Tests of traces: the recorded weights are those that were used, for all cores, windows and batches."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_models import CORES, core_config, make_core

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import ArgumentsError, OutputError
from muse_shortcut.generation import recorder
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.recorder import Recorder, step_chances
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.trace import Trace, load_trace
from muse_shortcut.model.attention import cross_attend_spelled_out, joint_attend_spelled_out
from muse_shortcut.model.core import Core
from muse_tokenizers.base import Prompt
from muse_tokenizers.midi.constraints import MidiConstraints


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(random_checkpoint)


class _FreeDomain:
    """Ids without a grammar, in as many streams as a core has."""

    tokenizer = SimpleNamespace(end=-1)

    def grammar(self, *_: object) -> None:
        return None


def _grow(core: Core, prompt: int, steps: int, candidates: int = 1) -> Generation:
    ids = np.random.default_rng(1).integers(0, 11, (prompt, core.config.streams))
    request = Request(prompt=Prompt(ids=ids, piece=None), candidates=candidates, max_steps=steps, seed=3)
    generation = Generation(core, _FreeDomain(), request)  # type: ignore[arg-type]
    for _ in generation:
        pass
    return generation


def _spelled_out(core: Core, ids: Any) -> tuple[Any, Any]:
    """Weights (H, n, T) with which the last of (T, K) ids looks at all, from the masked concatenation; and logits."""
    with torch.inference_mode():
        batch = torch.from_numpy(ids)[None]
        below = core._below(batch, None)
        query, keys, values = core.last.project(below.h, below.depths, below.cos_sin, below.memory)
        if core.last.scope == "column":
            query, keys, values = query[..., -1:, :], keys[..., -1:, :], values[..., -1:, :]
        spelled_out = cross_attend_spelled_out if core.last.scope == "cross" else joint_attend_spelled_out
        _, weights = spelled_out(query, keys, values)
        return weights[0, :, -1].float().numpy(), core(batch)[0, -1].double().numpy()


@pytest.mark.parametrize("name", [*CORES])
@pytest.mark.parametrize("streams", [1, 3])
def test_recorded_rows_equal_a_spelled_out_forward_over_the_same_tokens(name: str, streams: int) -> None:
    # A context of 13 and 5 + 23 steps: the window begins anew twice.
    core = make_core(core_config(name, streams=streams), dtype=torch.float32)
    trace = _grow(core, prompt=5, steps=23).trace(0)
    assert (trace.steps, trace.prompt_steps) == (23, 5)
    assert len({int(first) for first in trace.first}) >= 3
    for step in range(trace.steps):
        end = trace.prompt_steps + step
        weights, logits = _spelled_out(core, trace.ids[int(trace.first[step]) : end])
        begin, row = trace.attended(step)
        assert begin == end - weights.shape[-1]
        np.testing.assert_allclose(row, weights.mean(0), atol=6e-4)
        np.testing.assert_allclose(trace.depth_share[step], weights.sum(-1).T, atol=1e-5)
        nats = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        drawn = np.take_along_axis(nats, trace.ids[end][:, None], -1)[:, 0]
        np.testing.assert_allclose(trace.log_probability[step], drawn, atol=1e-4)
        np.testing.assert_allclose(trace.entropy[step], -(np.exp(nats) * nats).sum(-1), atol=1e-4)
        np.testing.assert_array_equal(trace.alternatives[step], np.argsort(-nats, axis=-1)[:, :5])
        np.testing.assert_allclose(trace.alternative_log_probability[step], -np.sort(-nats)[:, :5], atol=1e-4)


def test_rows_and_depth_shares_sum_to_one(checkpoint: Checkpoint, prompt_file: Path) -> None:
    generation = _of(checkpoint, prompt=_prompt(checkpoint, prompt_file, 4.0), max_steps=40, candidates=3)
    for candidate in range(3):
        trace = generation.trace(candidate)
        assert trace.steps > 0
        for step in range(trace.steps):
            assert trace.row(step).sum() == pytest.approx(1.0, abs=5e-3)
        np.testing.assert_allclose(trace.depth_share.sum(1), 1.0, atol=1e-5)


def _prompt(checkpoint: Checkpoint, path: Path, seconds: float | None = None) -> Any:
    return checkpoint.domain.prompt(checkpoint.domain.read(path), seconds)


def _of(checkpoint: Checkpoint, trace: bool = True, **fields: Any) -> Generation:
    prompt = fields.pop("prompt", checkpoint.domain.prompt(None))
    generation = Generation(checkpoint.core, checkpoint.domain, Request(prompt=prompt, **fields), trace=trace)
    for _ in generation:
        pass
    return generation


def test_keeping_a_trace_changes_no_id(checkpoint: Checkpoint) -> None:
    with_trace, without = (_of(checkpoint, trace, seed=2, max_steps=60, candidates=2) for trace in (True, False))
    for one, other in zip(with_trace.continuations(), without.continuations(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="started without a trace"):
        without.trace(0)


def test_a_trace_ends_with_its_own_candidate(checkpoint: Checkpoint) -> None:
    generation = _of(checkpoint, seed=1, candidates=4, constraints=MidiConstraints(seconds=2.0))
    lengths = [len(ids) for ids in generation.continuations()]
    assert len(set(lengths)) > 1
    for candidate, ids in enumerate(generation.continuations()):
        trace = generation.trace(candidate)
        assert trace.steps == len(ids)
        np.testing.assert_array_equal(trace.ids[trace.prompt_steps :], ids)


def test_chances_are_those_under_the_grammar(checkpoint: Checkpoint) -> None:
    trace = _of(checkpoint, seed=0, max_steps=30).trace(0)
    # After a pitch comes a velocity: 32 ids of 1,116 share all of the chance.
    names = checkpoint.tokenizer.vocabulary()
    after_pitch = [s for s in range(1, trace.steps) if names[trace.ids[trace.prompt_steps + s - 1, 0]][:5] == "Pitch"]
    assert after_pitch
    for step in after_pitch:
        assert trace.entropy[step, 0] <= np.log(32) + 1e-5
        assert all(names[i].startswith("Velocity") for i in trace.alternatives[step, 0])


def test_where_fewer_than_five_ids_are_allowed_the_rest_are_marked() -> None:
    nats = np.log([[[0.25, 1.0, 0.75, 1.0, 1.0, 1.0, 1.0]]])
    nats[..., [1, 3, 4, 5, 6]] = -np.inf
    entropy, ids, values = step_chances(nats)
    assert entropy[0, 0] == pytest.approx(0.25 * np.log(4) + 0.75 * np.log(4 / 3))
    assert ids.tolist() == [[[2, 0, -1, -1, -1]]]
    np.testing.assert_allclose(np.exp(values), [[[0.75, 0.25, 0, 0, 0]]])


def test_a_vocabulary_of_less_than_five_ids_has_as_many_alternatives() -> None:
    _, ids, _ = step_chances(np.log(np.array([[[0.2, 0.5, 0.3]]])))
    assert ids.tolist() == [[[1, 2, 0, -1, -1]]]


def test_equal_chances_are_in_the_order_of_their_ids() -> None:
    _, ids, _ = step_chances(np.full((1, 1, 1116), -np.log(1116)))
    assert ids[0, 0].tolist() == [0, 1, 2, 3, 4]
    nats = np.full((1, 2, 1116), -9.0)
    nats[0, 0, [700, 3]] = -1.0
    nats[0, 1, 5:] = -np.inf
    _, ids, _ = step_chances(nats)
    assert ids[0].tolist() == [[3, 700, 0, 1, 2], [0, 1, 2, 3, 4]]


def test_a_full_disk_loses_no_row_that_was_kept(monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint) -> None:
    whole = _of(checkpoint, seed=2, max_steps=60).trace(0)
    monkeypatch.setattr(recorder, "_IN_MEMORY", 1000)
    monkeypatch.setattr(recorder, "_PENDING", 8)

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder.tempfile, "TemporaryFile", Full)
    request = Request(prompt=checkpoint.domain.prompt(None), seed=2, max_steps=60)
    generation = Generation(checkpoint.core, checkpoint.domain, request)
    for _ in range(2):
        with pytest.raises(OutputError, match=r"cannot write the trace to the temporary folder: No space left"):
            for _event in generation:
                pass
    monkeypatch.undo()
    kept = generation.trace(0)
    assert kept.steps >= 8
    np.testing.assert_array_equal(kept.attention, whole.attention[: len(kept.attention)])


def test_a_trace_can_be_read_during_generation(checkpoint: Checkpoint) -> None:
    request = Request(prompt=checkpoint.domain.prompt(None), seed=2, max_steps=150)
    generation = Generation(checkpoint.core, checkpoint.domain, request)
    seen = [generation.trace(0) for event in generation if event.step in (3, 70, 140)]
    whole = generation.trace(0)
    for early in seen:
        for name in ("log_probability", "entropy", "alternatives", "depth_share", "first"):
            np.testing.assert_array_equal(getattr(whole, name)[: early.steps], getattr(early, name))
        np.testing.assert_array_equal(whole.attention[: len(early.attention)], early.attention)


def test_rows_beyond_memory_go_to_disk_and_come_back(monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint) -> None:
    inside = _of(checkpoint, seed=2, max_steps=60, candidates=2).trace(1)
    monkeypatch.setattr(recorder, "_IN_MEMORY", 1000)
    generation = _of(checkpoint, seed=2, max_steps=60, candidates=2)
    np.testing.assert_array_equal(generation.trace(1).attention, inside.attention)
    assert generation._recorder is not None
    assert not isinstance(generation._recorder._rows, io.BytesIO)
    assert generation._recorder.nbytes > 1000


def test_a_trace_is_read_as_it_was_written(checkpoint: Checkpoint, tmp_path: Path) -> None:
    generation = _of(checkpoint, seed=2, max_steps=60, candidates=2)
    trace = generation.trace(1)
    for name in ("a", "b"):
        generation.save_trace(1, tmp_path / f"{name}.trace.npz")
    assert (tmp_path / "a.trace.npz").read_bytes() == (tmp_path / "b.trace.npz").read_bytes()
    loaded = load_trace(tmp_path / "a.trace.npz")
    for name, value in vars(trace).items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    # Anyone's numpy reads it, without pickles.
    with np.load(tmp_path / "a.trace.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["attention"], trace.attention)
        assert set(arrays) == {*vars(trace), "version"}


def test_rows_of_a_loaded_trace_stay_on_disk(checkpoint: Checkpoint, tmp_path: Path) -> None:
    _of(checkpoint, seed=2, max_steps=60).save_trace(0, tmp_path / "a.trace.npz")
    assert isinstance(load_trace(tmp_path / "a.trace.npz").attention, np.memmap)


def test_a_trace_of_nothing_is_a_trace(checkpoint: Checkpoint, tmp_path: Path) -> None:
    recorder = Recorder(1, (1, 2))
    ids = np.zeros((0, 1), dtype=np.int64)
    recorder.save(0, np.ones((1, 1), dtype=np.int64), ids, tmp_path / "a.trace.npz")
    assert load_trace(tmp_path / "a.trace.npz").steps == 0


@pytest.fixture
def saved(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    path = tmp_path / "a.trace.npz"
    _of(checkpoint, seed=2, max_steps=20).save_trace(0, path)
    return path


def test_a_missing_or_cut_or_foreign_file_is_one_clear_line(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    for name, data in {"empty": b"", "text": b"hello", "cut": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ArgumentsError, match=f"{name} is not a complete trace"):
            load_trace(tmp_path / name)
    with pytest.raises(ArgumentsError, match="cannot read"):
        load_trace(tmp_path / "nowhere")


def _rewritten(path: Path, **changes: Any) -> Path:
    with np.load(path) as arrays:
        content = dict(arrays) | changes
    content = {name: array for name, array in content.items() if array is not None}
    np.savez(path, **content)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entropy": None}, "is not a complete trace: .*entropy"),
        ({"version": np.array([7])}, "it has version 7, of a newer muse-shortcut"),
        ({"first": np.zeros(3, np.int64)}, "first does not fit"),
        ({"attention": np.zeros(3, np.float16)}, "offsets does not fit"),
        ({"attention": np.zeros(3, np.float64)}, "attention is float64"),
        ({"ids": np.array([{}], dtype=object)}, "is not a complete trace"),
        ({"ids": np.array(3)}, r"ids is int64 \(\)"),
        ({"depth_share": np.array(0.5)}, r"depth_share is float64 \(\)"),
        ({"log_probability": np.array(0.5)}, r"log_probability is float64 \(\)"),
        ({"offsets": np.zeros(21)}, "offsets is float64"),
        ({"ids": np.full((21, 1), -1)}, "does not fit the other arrays"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(saved: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentsError, match=message):
        load_trace(_rewritten(saved, **changes))


def test_a_compressed_archive_is_refused_and_not_misread(saved: Path) -> None:
    with np.load(saved) as arrays:
        np.savez_compressed(saved, **dict(arrays))
    assert zipfile.is_zipfile(saved)
    with pytest.raises(ArgumentsError, match="compressed"):
        load_trace(saved)


def test_a_row_that_would_reach_beyond_its_step_is_refused(saved: Path) -> None:
    trace = load_trace(saved)
    with pytest.raises(ArgumentsError, match="offsets does not fit"):
        replace(trace, first=trace.first + 10**6).check("x")
    assert Trace.VERSION == 1


def test_sampling_rules_do_not_touch_the_recorded_chances(checkpoint: Checkpoint) -> None:
    wild, safe = (
        _of(checkpoint, seed=0, max_steps=1, sampling=SamplingConfig(temperature=t, top_k=k)).trace(0)
        for t, k in ((3.0, 0), (0.1, 1))
    )
    np.testing.assert_array_equal(wild.alternatives, safe.alternatives)
    np.testing.assert_array_equal(wild.entropy, safe.entropy)
