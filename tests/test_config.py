"""Configuration: impossible values are refused by name, and written files are read unchanged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
import torch

from muse_shortcut.config import ModelConfig, SamplingConfig, ShortcutConfig, TrainConfig
from muse_shortcut.devices import choose_device, choose_precision
from muse_shortcut.errors import ArgumentsError, CheckpointError
from muse_shortcut.presets import PRESETS

NAN, INFINITE = float("nan"), float("inf")


def found(value: object) -> str:
    return "" if value is None else str(list(value) if isinstance(value, tuple) else value)


IMPOSSIBLE: list[tuple[Callable[..., Any], str, Any, str, str]] = [
    (ShortcutConfig, "taps", (1, 2, 1), "shortcut.taps", "each depth once"),
    (ShortcutConfig, "taps", (1, -2), "shortcut.taps", "depths from 0"),
    (ShortcutConfig, "taps", (1.5,), "shortcut.taps", "depths from 0"),
    (ShortcutConfig, "taps", (True,), "shortcut.taps", "depths from 0"),
    (ShortcutConfig, "taps", ("1",), "shortcut.taps", "depths from 0"),
    (ShortcutConfig, "feature_map", "cnn", "feature_map", "mlp, residual, linear, norm"),
    (ShortcutConfig, "feature_width", 0, "feature_width", "1 or more"),
    (ShortcutConfig, "feature_width", 2.5, "feature_width", "a whole number"),
    (ShortcutConfig, "include_last", "yes", "include_last", "true, false"),
    (ShortcutConfig, "include_embedding", 1, "include_embedding", "true, false"),
    (ShortcutConfig, "scope", "row", "scope", "context, column"),
    (ShortcutConfig, "start", "one", "start", "normal, zero"),
    (ModelConfig, "vocabulary_size", -1, "vocabulary_size", "0 or more"),
    *((ModelConfig, name, 0, name, "1 or more") for name in ("streams", "width", "heads", "feed_forward")),
    *((ModelConfig, name, -3, name, "1 or more") for name in ("streams", "width", "heads", "feed_forward")),
    *((ModelConfig, name, 0, name, "1 to ") for name in ("context", "layers")),
    (ModelConfig, "layers", 10**9, "layers", "1 to 1000"),
    (ModelConfig, "context", 10**12, "context", "1 to 1048576"),
    *(
        (ModelConfig, name, value, name, "a whole number")
        for name in ("vocabulary_size", "streams", "context", "layers", "width", "heads", "feed_forward")
        for value in (12.0, "12", True, [12], NAN)
    ),
    (ModelConfig, "width", 190, "width", "a multiple of 2 x heads, 12"),
    (ModelConfig, "heads", 5, "width", "a multiple of 2 x heads, 10"),
    (ModelConfig, "dropout", 1.0, "dropout", "0 up to but not 1"),
    (ModelConfig, "dropout", -0.1, "dropout", "0 up to but not 1"),
    (ModelConfig, "dropout", NAN, "dropout", "a finite number"),
    (ModelConfig, "dropout", "0.1", "dropout", "a finite number"),
    (ModelConfig, "tied_embeddings", "no", "tied_embeddings", "true, false"),
    (ModelConfig, "shortcut", ShortcutConfig(taps=(2, 7)), "shortcut.taps", "depths up to 6, the last below layer 7"),
    (ModelConfig, "shortcut", ShortcutConfig(taps=()), "shortcut.taps", "at least one depth"),
    (ModelConfig, "shortcut", {"taps": [1]}, "shortcut", "a ShortcutConfig, or null for a plain GPT"),
    *(
        (TrainConfig, name, 0, name, "1 or more")
        for name in ("max_steps", "batch_size", "accumulation", "eval_every", "eval_windows", "save_every", "keep")
    ),
    *(
        (TrainConfig, name, -1, name, "0 or more")
        for name in ("warmup_steps", "weight_decay", "clip", "patience", "min_delta", "sample_every")
    ),
    *(
        (TrainConfig, name, value, name, "a finite number")
        for name in ("learning_rate", "final_learning_rate", "weight_decay", "beta1", "beta2", "clip", "min_delta")
        for value in (NAN, INFINITE, "1")
    ),
    (TrainConfig, "max_steps", 2.5, "max_steps", "a whole number"),
    (TrainConfig, "learning_rate", 0.0, "learning_rate", "more than 0"),
    (TrainConfig, "window", 8, "window", "0; any other number needs decay_steps above 0"),
    (TrainConfig, "decay_steps", 1901, "decay_steps", "0, or at most max_steps less warmup_steps, 1900"),
    (TrainConfig, "source_weights", {"a": -1}, "source_weights", "sources and weights from 0 to 1000"),
    (TrainConfig, "optimiser", "sgd", "optimiser", "muon, adamw"),
    (TrainConfig, "embedding_learning_rate", 0.0, "embedding_learning_rate", "more than 0"),
    (TrainConfig, "decay_steps", -1, "decay_steps", "0 or more"),
    (TrainConfig, "final_learning_rate", -1e-4, "final_learning_rate", "0 to learning_rate, 0.006"),
    (TrainConfig, "final_learning_rate", 1e-2, "final_learning_rate", "0 to learning_rate, 0.006"),
    (TrainConfig, "beta1", 1.0, "beta1", "0 up to but not 1"),
    (TrainConfig, "beta2", -0.1, "beta2", "0 up to but not 1"),
    (TrainConfig, "precision", "float16", "precision", "auto, float32, bfloat16"),
    (TrainConfig, "augment", "maybe", "augment", "true, false"),
    (SamplingConfig, "repetition_penalty", 0.9, "repetition_penalty", "1 or more"),
    (SamplingConfig, "repetition_penalty", INFINITE, "repetition_penalty", "a finite number"),
    (SamplingConfig, "no_repeat_ngram", -1, "no_repeat_ngram", "0 (off) or more"),
    (SamplingConfig, "temperature", 0.0, "temperature", "more than 0, up to 10"),
    (SamplingConfig, "temperature", 10.5, "temperature", "more than 0, up to 10"),
    (SamplingConfig, "temperature", NAN, "temperature", "a finite number"),
    (SamplingConfig, "top_k", -1, "top_k", "0 (off) or more"),
    (SamplingConfig, "top_k", 1.5, "top_k", "a whole number"),
    (SamplingConfig, "top_p", 0.0, "top_p", "more than 0, up to 1 (off)"),
    (SamplingConfig, "top_p", 1.1, "top_p", "more than 0, up to 1 (off)"),
    (SamplingConfig, "min_p", 1.0, "min_p", "0 (off) up to but not 1"),
    (SamplingConfig, "min_p", -0.1, "min_p", "0 (off) up to but not 1"),
    (SamplingConfig, "greedy", "yes", "greedy", "true, false"),
]


@pytest.mark.parametrize(("kind", "field", "value", "named", "allowed"), IMPOSSIBLE)
def test_an_impossible_value_is_refused_with_its_name_and_the_allowed_ones(
    kind: Callable[..., Any], field: str, value: Any, named: str, allowed: str
) -> None:
    with pytest.raises(ArgumentsError) as refused:
        kind(**{field: value})
    message = str(refused.value)
    assert re.fullmatch(rf"{re.escape(named)} is .*; allowed: {re.escape(allowed)}.*", message), message
    assert "\n" not in message
    if field == named:
        assert str(value) in message


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (ModelConfig, "dropout", 0),
        (ModelConfig, "layers", 1000),
        (TrainConfig, "clip", 0),
        (TrainConfig, "final_learning_rate", 1e-3),
        (TrainConfig, "warmup_steps", 0),
        (SamplingConfig, "temperature", 10),
        (SamplingConfig, "top_p", 1),
    ],
)
def test_the_limits_of_the_allowed_range_are_allowed(kind: Callable[..., Any], field: str, value: Any) -> None:
    assert getattr(kind(**{field: value}), field) == value


def test_configurations_cannot_be_changed_in_place() -> None:
    for config in (ShortcutConfig(), ModelConfig(), TrainConfig(), SamplingConfig()):
        with pytest.raises(FrozenInstanceError):
            setattr(config, fields(config)[0].name, 1)


def test_depths_are_the_taps_and_included_depths_sorted_and_unique() -> None:
    shortcut = ShortcutConfig(taps=(4, 2), include_last=True, include_embedding=True)
    assert ModelConfig(shortcut=shortcut).depths == (0, 2, 4, 6)
    assert ModelConfig(shortcut=replace(shortcut, taps=(0, 6, 3))).depths == (0, 3, 6)
    assert ModelConfig(shortcut=None).depths == (6,)
    assert ModelConfig(shortcut=ShortcutConfig(taps=(), include_last=True)).depths == (6,)


# JSON


def through_json(config: ModelConfig) -> Any:
    return json.loads(json.dumps(config.to_json()))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_shape_written_as_json_is_read_as_it_was(preset: str) -> None:
    for config in (PRESETS[preset], replace(PRESETS[preset], shortcut=None), PRESETS[preset].for_vocabulary(1116, 3)):
        assert ModelConfig.from_json(through_json(config)) == config
    assert PRESETS[preset].for_vocabulary(1116, 3).vocabulary_size == 1116


HOSTILE: list[Any] = [None, True, "x", "", -1, 0, 1.5, 10**30, -(10**30), NAN, INFINITE, [], [1, "a"], {}, {"a": [1]}]


def test_a_damaged_or_hostile_shape_is_a_checkpoint_error_and_never_another() -> None:
    for content in [*HOSTILE, [through_json(PRESETS["tiny"])]]:
        with pytest.raises(CheckpointError):
            ModelConfig.from_json(content)
    for part in (None, "shortcut"):
        for name in through_json(PRESETS["tiny"]) if part is None else through_json(PRESETS["tiny"])["shortcut"]:
            for value in HOSTILE:
                content = through_json(PRESETS["tiny"])
                target = content if part is None else content[part]
                before = target[name]
                target[name] = value
                try:
                    config = ModelConfig.from_json(content)
                except CheckpointError:
                    continue
                # What is taken is a shape that is possible, of the types that it should have.
                assert through_json(config) == content
                other = (name.endswith("dropout") and value == 0) or (name, value) == ("last_layer", "x")
                assert type(before) is type(value) or value is None or other, (name, value)


@pytest.mark.parametrize("part", ["model", "shortcut"])
def test_a_missing_or_unknown_field_is_named(part: str) -> None:
    for change in ("less", "more"):
        content = through_json(PRESETS["tiny"])
        target = content if part == "model" else content["shortcut"]
        if change == "less":
            del target["feed_forward" if part == "model" else "scope"]
        else:
            target["flavour"] = 3
        with pytest.raises(CheckpointError, match=r"feed_forward" if part == "model" else r"scope"):
            ModelConfig.from_json(content)


def test_configurations_need_no_torch() -> None:
    program = "import sys, muse_shortcut.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# Where to compute


def test_a_device_that_is_called_otherwise_is_refused() -> None:
    with pytest.raises(ArgumentsError, match=r"device is 'tpu'; allowed: auto, cpu, cuda, mps"):
        choose_device("tpu")


def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ArgumentsError, match=r"device is 'cuda'; allowed: auto, cpu, the ones of this machine"):
        choose_device("cuda")
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_auto_takes_the_fastest_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


def test_auto_computes_in_bfloat16_only_where_it_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert choose_precision("float32", cpu) == torch.float32
    assert choose_precision("bfloat16", cpu) == torch.bfloat16
    for has_tiles, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has_tiles=has_tiles: has_tiles)
        assert choose_precision("auto", cpu) == expected
    for capability, expected in (((8, 0), torch.bfloat16), ((7, 5), torch.float32)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, capability=capability: capability)
        assert choose_precision("auto", torch.device("cuda")) == expected
    assert choose_precision("auto", torch.device("mps")) == torch.float32


def test_other_learning_rates_follow_the_chosen_one_unless_they_are_given() -> None:
    assert (TrainConfig().final_learning_rate, TrainConfig().embedding_learning_rate) == (3e-4, 2e-3)
    low = TrainConfig(learning_rate=1e-4)
    assert (low.final_learning_rate, low.embedding_learning_rate) == pytest.approx((5e-6, 1e-4 / 3))
    own = TrainConfig(learning_rate=1e-4, final_learning_rate=1e-5, embedding_learning_rate=3e-3)
    assert (own.final_learning_rate, own.embedding_learning_rate) == (1e-5, 3e-3)
