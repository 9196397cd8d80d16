"""Promises about the precision of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from muse_shortcut.config import ModelConfig
from muse_shortcut.errors import CheckpointError
from muse_shortcut.model.core import Core
from muse_shortcut.training import precision
from muse_shortcut.training.precision import step_seconds, training_precision

SHAPE = ModelConfig(vocabulary_size=20, context=16, layers=8, width=32, heads=4, feed_forward=64, dropout=0.5)


@pytest.fixture
def core() -> Core:
    torch.manual_seed(1)
    return Core(SHAPE)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Make every core worth measuring, and its times those."""

    def set_times(plain: float, half: float) -> None:
        monkeypatch.setattr(precision, "_MEASURED_FROM", 0)
        monkeypatch.setattr(precision, "step_seconds", lambda _: (plain, half))

    return set_times


@pytest.mark.parametrize(
    ("plain", "half", "expected"),
    [(1.0, 0.6, torch.bfloat16), (1.0, 0.9, torch.float32), (1.0, 2.0, torch.float32)],
)
def test_a_cpu_trains_in_bfloat16_only_if_that_is_clearly_faster(
    core: Core, measured: Callable[[float, float], None], plain: float, half: float, expected: torch.dtype
) -> None:
    measured(plain, half)
    assert training_precision("auto", core, {}, resumed=False) == expected


def test_a_requested_precision_is_not_measured(core: Core, measured: Callable[[float, float], None]) -> None:
    measured(1.0, 0.1)
    assert training_precision("float32", core, {}, resumed=False) == torch.float32
    measured(0.1, 1.0)
    assert training_precision("bfloat16", core, {}, resumed=False) == torch.bfloat16


def test_small_cores_are_trained_in_float32(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Core) -> tuple[float, float]:
        raise AssertionError("it was measured")

    monkeypatch.setattr(precision, "step_seconds", fail)
    assert training_precision("auto", core, {}, resumed=False) == torch.float32


def test_a_training_that_resumes_keeps_its_precision(core: Core, measured: Callable[[float, float], None]) -> None:
    measured(0.1, 1.0)
    assert training_precision("auto", core, {"precision": "bfloat16"}, resumed=True) == torch.bfloat16
    # Fine-tuning starts from a checkpoint that was trained elsewhere.
    assert training_precision("auto", core, {"precision": "bfloat16"}, resumed=False) == torch.float32


def test_a_training_from_before_precisions_were_recorded_keeps_to_the_rule_of_then(
    core: Core, measured: Callable[[float, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(1.0, 0.1)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert training_precision("auto", core, {}, resumed=True) == torch.float32


@pytest.mark.parametrize("recorded", ["float16", 3, None, ["bfloat16"]])
def test_a_damaged_record_is_refused(core: Core, recorded: Any) -> None:
    with pytest.raises(CheckpointError, match=r"the recorded precision is .*; allowed: float32, bfloat16"):
        training_precision("auto", core, {"precision": recorded}, resumed=True)


def test_measuring_changes_neither_the_core_nor_the_random_numbers(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_BUDGET", 0.0)
    before = {name: value.clone() for name, value in core.state_dict().items()}
    core.eval()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    plain, half = step_seconds(core)
    assert plain > 0
    assert half > 0
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in core.state_dict().items())
    assert all(parameter.grad is None for parameter in core.parameters())
    assert not core.training
