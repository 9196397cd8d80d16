"""Promises of the native step: it computes what torch computes, and torch serves where it cannot."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RunCommand
from small_models import CORES, core_config
from torch import Tensor

import muse_shortcut.native.library as library
from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.config import ModelConfig, SamplingConfig, ShortcutConfig
from muse_shortcut.errors import OptionError
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request
from muse_shortcut.installation import inspect_installation
from muse_shortcut.model.cache import Cache
from muse_shortcut.model.core import Core, StepOutput
from muse_shortcut.native.decoding import NativeCore, _scratch_floats, unsupported
from muse_shortcut.native.library import missing_step
from muse_shortcut.presets import PRESETS
from muse_shortcut.shipped import default_checkpoint

_HERE = pytest.mark.skipif(
    missing_step() is not None and "CI" not in os.environ,
    reason="the native step was not compiled: pip install ziglang",
)
"""Continuous integration has the compiler."""
_ODD = ModelConfig(
    vocabulary_size=13,
    streams=2,
    context=200,
    layers=4,
    width=30,
    heads=3,
    feed_forward=17,
    shortcut=ShortcutConfig(taps=(1, 2), include_embedding=True, include_last=True, feature_width=11),
)
_SHAPES = {name: replace(shape.for_vocabulary(97, 2), context=200) for name, shape in PRESETS.items()} | {
    "odd": _ODD,
    "odd, plain": replace(_ODD, shortcut=None, query_key_norm=True),
    "odd, tied": replace(_ODD, tied_embeddings=True),
    "odd, one layer": replace(_ODD, layers=1, shortcut=None, streams=5),
    "odd, without norm": replace(_ODD, shortcut=ShortcutConfig(taps=(3,), feature_map="linear", norm=False)),
    "heads wider than any register": replace(_ODD, width=156, heads=2),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """As decoding sets it: more are many times slower beside another program."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _core(shape: ModelConfig) -> Core:
    torch.manual_seed(1)
    core = Core(shape).eval()
    with torch.no_grad():
        for name, parameter in core.named_parameters():
            # As large as after a training, and no norm is all ones.
            parameter.mul_(1.5).add_(0.1 if "norm" in name else 0.0)
    return core


def _read(core: Core | NativeCore, ids: Tensor, read: int) -> Cache:
    """A cache whose candidates have read the same `read` steps."""
    cache = core.make_cache(1)
    if read:
        core.prefill(ids[:1, :read], cache)
    cache.repeat(len(ids))
    return cache


def _ids(core: Core, candidates: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    size = (candidates, core.config.context, core.config.streams)
    return torch.randint(0, core.config.vocabulary_size, size, generator=generator)


def _assert_close(found: StepOutput, expected: StepOutput) -> None:
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.weights, expected.weights, atol=1e-5, rtol=0)


def _compare(core: Core, candidates: int, read: int, steps: int) -> None:
    ids, native = _ids(core, candidates), NativeCore(core)
    size = _scratch_floats(core.config, candidates)
    native._room = torch.cat((torch.zeros(size), torch.full((64,), 7.0)))
    expected, found = _read(core, ids, read), _read(core, ids, read)
    for t in range(read, read + steps):
        _assert_close(native.step(ids[:, t], found), core.step(ids[:, t], expected))
    assert found.length == read + steps
    # step.c takes no more scratch memory than decoding.py counts.
    assert torch.equal(native._room[size:], torch.full((64,), 7.0))
    for name in ("keys", "values", "tap_keys", "tap_values"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=1e-5)


@_HERE
@pytest.mark.parametrize("name", list(_SHAPES))
@torch.inference_mode()
def test_steps_of_every_shape_equal_those_of_torch(name: str) -> None:
    core = _core(_SHAPES[name])
    for candidates, read in ((1, 0), (1, 130), (3, 130)):
        _compare(core, candidates, read, 3)


@_HERE
@pytest.mark.parametrize("name", [name for name in CORES if unsupported(Core(core_config(name)).eval()) is None])
@torch.inference_mode()
def test_steps_of_every_kind_of_core_equal_those_of_torch(name: str) -> None:
    core = _core(core_config(name))
    for candidates in (1, 2, 7):
        _compare(core, candidates, 3, core.config.context - 3)


@_HERE
@pytest.mark.parametrize("read", [1, 127, 128, 190])
@torch.inference_mode()
def test_candidates_share_their_prompt_up_to_the_end_of_the_context(read: int) -> None:
    _compare(_core(_ODD), 5, read, _ODD.context - read)


@_HERE
@pytest.mark.parametrize(("read", "shared"), [(15, 0), (16, 16), (60, 60)])
@torch.inference_mode()
def test_candidates_share_shorter_prompts_than_with_torch(read: int, shared: int) -> None:
    core = _core(_ODD)
    native, ids = NativeCore(core), _ids(core, 3)
    expected, found = _read(core, ids, read), _read(native, ids, read)
    assert (expected.shared_length, found.shared_length) == (0, shared)
    for t in range(read, read + 5):
        _assert_close(native.step(ids[:, t], found), core.step(ids[:, t], expected))


@pytest.fixture
def instructions(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    library.load_step.cache_clear()


@_HERE
@pytest.mark.parametrize("capability", ["DEFAULT", "AVX2", "AVX512"])
@torch.inference_mode()
def test_every_instruction_set_of_this_processor_computes_the_same(
    capability: str, instructions: pytest.MonkeyPatch
) -> None:
    order = ["DEFAULT", "AVX2", "AVX512"]
    here = torch.backends.cpu.get_cpu_capability()
    if here in order and order.index(capability) > order.index(here):
        pytest.skip(f"this processor has no {capability}")
    instructions.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    library.load_step.cache_clear()
    for name in ("odd", "tiny", "heads wider than any register"):
        _compare(_core(_SHAPES[name]), 5, 130, 3)


@_HERE
@torch.inference_mode()
def test_a_candidate_has_the_same_bytes_whoever_is_beside_it() -> None:
    core = _core(_SHAPES["small"])
    ids, native = _ids(core, 6), NativeCore(core)
    for read in (20, 130):
        ids[:, :read] = ids[:1, :read]
        together, alone = _read(core, ids, read), [_read(core, ids[b : b + 1], read) for b in range(6)]
        for t in range(read, read + 3):
            output = native.step(ids[:, t], together)
            for b, cache in enumerate(alone):
                own = native.step(ids[b : b + 1, t], cache)
                assert torch.equal(own.logits[0], output.logits[b])
                assert torch.equal(own.weights[0], output.weights[b])


def _greedy(checkpoint: Checkpoint, engine: str, steps: int) -> Generation:
    request = Request(
        prompt=checkpoint.domain.prompt(None),
        sampling=SamplingConfig(greedy=True, repetition_penalty=1.3),
        candidates=2,
        max_steps=steps,
        engine=engine,
    )
    generation = Generation(checkpoint.core, checkpoint.domain, request)
    for _ in generation:
        pass
    return generation


@_HERE
@pytest.mark.parametrize("small", [False, True])
def test_greedy_generations_are_equal_far_beyond_the_context(random_checkpoint: Path, small: bool) -> None:
    # The first has a context of 192 steps, which 500 steps exceed three times.
    checkpoint = load_checkpoint(default_checkpoint("midi") if small else random_checkpoint)
    expected, found = (_greedy(checkpoint, engine, 500) for engine in ("torch", "native"))
    assert expected.steps == 500
    for one, other in zip(expected.continuations(), found.continuations(), strict=True):
        np.testing.assert_array_equal(one, other)
    traces = [generation.trace(0) for generation in (expected, found)]
    np.testing.assert_allclose(traces[0].log_probability, traces[1].log_probability, atol=1e-4)


@_HERE
@torch.inference_mode()
def test_rounding_and_denormal_numbers_stay_as_they_are() -> None:
    core = _core(_ODD)
    c_library = ctypes.CDLL(None) if os.name == "posix" else None
    rounding = c_library.fegetround() if c_library is not None else None
    for flushed in (False, True):
        torch.set_flush_denormal(flushed)
        try:
            _compare(core, 3, 20, 2)
            smallest = torch.full((1,), 1e-39) * 0.5
            assert bool(smallest == 0) is flushed
        finally:
            torch.set_flush_denormal(False)
    assert c_library is None or c_library.fegetround() == rounding


@_HERE
@pytest.mark.parametrize("wrong", [-1, 13])
@torch.inference_mode()
def test_an_id_outside_the_vocabulary_is_refused_and_changes_nothing(wrong: int) -> None:
    core = _core(_ODD)
    ids = _ids(core, 2)
    cache = _read(core, ids, 4)
    before = cache.keys.clone()
    ids[1, 4, 1] = wrong
    with pytest.raises(IndexError, match="allowed: 0 to 12"):
        NativeCore(core).step(ids[:, 4], cache)
    assert cache.length == 4
    assert torch.equal(cache.keys, before)


@pytest.mark.parametrize(
    ("core", "reason"),
    [
        (Core(core_config("cross")), "scope cross"),
        (Core(core_config("column")), "scope column"),
        (Core(core_config("query, last layers")), "mixing"),
        (Core(core_config("value_residual, every layers")), "mixing"),
        (Core(core_config("plain")).double(), "float64"),
        (Core(core_config("plain")).bfloat16(), "bfloat16"),
        (Core(core_config("plain", dropout=0.1)).train(), "dropout"),
    ],
)
def test_what_the_native_step_does_not_compute_is_named(core: Core, reason: str) -> None:
    found = unsupported(core)
    assert found is not None
    assert reason in found


def test_hooks_of_the_layers_are_called_by_torch() -> None:
    core = Core(core_config("plain")).eval()
    handle = core.norm.register_forward_hook(lambda *_: None)
    assert unsupported(core) == "forward hooks"
    handle.remove()
    assert unsupported(core) is None


def test_torch_decodes_what_the_native_step_does_not_compute(random_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(random_checkpoint)
    shape = replace(checkpoint.core.config, shortcut=ShortcutConfig(taps=(1,), scope="column"))
    prompt = checkpoint.domain.prompt(None)
    assert Generation(Core(shape).eval(), checkpoint.domain, Request(prompt=prompt)).request.engine == "torch"
    with pytest.raises(OptionError, match="scope column"):
        Generation(Core(shape).eval(), checkpoint.domain, Request(prompt=prompt, engine="native"))
    with pytest.raises(OptionError, match="auto, native, torch"):
        Request(prompt=prompt, engine="jax")


@pytest.fixture(params=["missing", "damaged"])
def without_step(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    path = tmp_path / "step.so"
    if request.param == "damaged":
        path.write_bytes(b"no library")
    monkeypatch.setattr(library, "library_path", lambda: path)
    library.load_step.cache_clear()
    yield {"missing": "was not compiled", "damaged": "cannot be loaded"}[request.param]
    monkeypatch.undo()
    library.load_step.cache_clear()


def test_without_a_compiled_step_torch_decodes_and_one_line_says_so(
    run: RunCommand, random_checkpoint: Path, tmp_path: Path, without_step: str
) -> None:
    words = ("midi", "--checkpoint", random_checkpoint, "--sound", "false", "--out", tmp_path, "--max-new-tokens", 5)
    done = run("generate", *words)
    assert done.code == 0
    assert [line for line in done.out.splitlines() if without_step in line and "torch decodes" in line]
    refused = run("generate", *words, "--engine", "native")
    assert refused.code == 2
    assert refused.err.startswith("muse-generate: --engine is 'native'; allowed: auto or torch, for ")
    assert refused.err.count("\n") == 1
    assert "muse-doctor" not in run("generate", *words, "--engine", "torch").out
    [finding] = [one for one in inspect_installation() if one.name == "native step"]
    assert without_step in finding.value
    assert run("doctor").code == 0


@_HERE
def test_a_sidecar_names_its_engine_and_asks_for_it_again(
    run: RunCommand, random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("midi", "--checkpoint", random_checkpoint, "--sound", "false", "--out", tmp_path, "--seed", 1)
    for engine in ("native", "torch"):
        run("generate", *words, "--max-new-tokens", 40, "--engine", engine)
    sidecars = [tmp_path / f"from-nothing-{number}.json" for number in (1, 2)]
    assert '"engine": "native"' in sidecars[0].read_text()
    assert '"engine": "torch"' in sidecars[1].read_text()
    # Sidecars from before there was a native step were made by torch.
    sidecars[1].write_text(sidecars[1].read_text().replace(', "engine": "torch"', ""))
    again = ("midi", "--checkpoint", random_checkpoint, "--sound", "false", "--out", tmp_path)
    for number, sidecar in enumerate(sidecars, 3):
        assert run("generate", *again, "--from-json", sidecar).code == 0
        assert (
            f'"engine": "{("native", "torch")[number - 3]}"' in (tmp_path / f"from-nothing-{number}.json").read_text()
        )
        assert (tmp_path / f"from-nothing-{number}.mid").read_bytes() == sidecar.with_suffix(".mid").read_bytes()
    monkeypatch.setattr(library, "library_path", lambda: tmp_path / "none.so")
    library.load_step.cache_clear()
    done = run("generate", *again, "--from-json", sidecars[0])
    library.load_step.cache_clear()
    assert done.code == 0
    assert "was made by the native step" in done.err
    assert "the bytes may differ" in done.err
    refused = run("generate", *again, "--from-json", sidecars[0], "--engine", "torch")
    assert refused.code == 2
