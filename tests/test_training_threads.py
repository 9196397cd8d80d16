"""Threads of a training: they share a batch, compute the same gradients, and change nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_models import Nursery, small_config
from small_stores import midi_store
from torch import Tensor
from torch.nn import functional as F

from muse_shortcut.config import ShortcutConfig, TrainConfig
from muse_shortcut.errors import CheckpointError
from muse_shortcut.model.core import Core
from muse_shortcut.training.gradients import Gradients, training_threads

SHAPE = {
    "context": 24, "layers": 3, "width": 30, "heads": 3, "feed_forward": 38,
    "shortcut": {"taps": [1], "feature_width": 17},
}  # fmt: skip
TRAINING = {
    "max_steps": 9, "batch_size": 5, "accumulation": 2, "warmup_steps": 2, "eval_every": 3, "eval_windows": 7,
    "save_every": 3, "sample_every": 0, "precision": "float32", "tensorboard": False, "threads": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return midi_store(tmp_path_factory)


def core(**changes: Any) -> Core:
    torch.manual_seed(3)
    return Core(small_config(ShortcutConfig(taps=(1,), feature_width=12), **changes))


def losses_of(model: Core) -> Any:
    def losses(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(inputs)
        # A third of the targets is not scored, unevenly over the windows.
        scored = targets % 3 > 0
        nats = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view_as(targets)
        return nats * scored, scored

    return losses


def gradients(threads: int, batch: int) -> tuple[float, dict[str, Tensor]]:
    model = core()
    ids = torch.randint(0, model.config.vocabulary_size, (batch, 9, model.config.streams))
    found = Gradients(model, losses_of(model), threads)
    with found.started():
        loss = found.add(ids[:, :-1], ids[:, 1:], 0.5) + found.add(ids[:, :-1], ids[:, 1:], 0.5)
    return loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("threads", "batch"), [(2, 6), (3, 7), (4, 3), (2, 1)])
def test_threads_compute_the_gradients_of_one(threads: int, batch: int) -> None:
    (expected, alone), (loss, shared) = gradients(1, batch), gradients(threads, batch)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert alone.keys() == shared.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-4, atol=1e-7)


def test_gradients_of_threads_repeat_bit_by_bit() -> None:
    (_, first), (_, second) = gradients(3, 7), gradients(3, 7)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_torch_divides_operations_as_before_when_training_ends() -> None:
    before = torch.get_num_threads()
    found = Gradients(core(), lambda *_: (torch.zeros(1), torch.ones(1)), 2)
    with pytest.raises(KeyError), found.started():
        raise KeyError
    assert torch.get_num_threads() == before


def test_dropout_compile_and_small_batches_have_fewer_threads() -> None:
    config = TrainConfig(threads=4, batch_size=8)
    assert training_threads(config, core(), {}, resumed=False) == 4
    assert training_threads(TrainConfig(threads=4, batch_size=2), core(), {}, resumed=False) == 2
    assert training_threads(TrainConfig(threads=4, compile=True), core(), {}, resumed=False) == 1
    assert training_threads(config, core(dropout=0.1), {}, resumed=False) == 1
    assert training_threads(TrainConfig(batch_size=64), core(), {}, resumed=False) >= 1


def test_a_resumed_training_keeps_its_threads() -> None:
    config = TrainConfig(threads=4)
    assert training_threads(config, core(), {"threads": 3}, resumed=True) == 3
    # From before the number was recorded.
    assert training_threads(config, core(), {}, resumed=True) == 1
    with pytest.raises(CheckpointError, match="recorded number of threads is 0; allowed: 1 to 1024"):
        training_threads(config, core(), {"threads": 0}, resumed=True)


def test_the_decay_can_be_brought_forward_before_it_begins(nursery: Nursery, store: Path, tmp_path: Path) -> None:
    def train(steps: int, decay: int, *more: object) -> Any:
        file = tmp_path / f"{steps}-{decay}.yaml"
        training = TRAINING | {"max_steps": steps, "decay_steps": decay}
        file.write_text(yaml.safe_dump({"model": SHAPE, "train": training}))
        return nursery.train(
            "midi", "--data", store, "--out", tmp_path / "run", "--config", file, "--device", "cpu", "--seed", 7, *more
        )

    assert train(9, 2).code == 0
    done = train(12, 3, "--resume", "auto")
    assert done.code == 2
    assert "--train.decay_steps is 3, but" in done.err
    # At step 6 the rate is still constant.
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.rmtree(checkpoints / "step-000009")
    (checkpoints / "latest").write_text("step-000006\n")
    assert train(9, 3, "--resume", "auto").code == 0
    rates = [json.loads(line).get("learning_rate") for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert rates[6] == max(rates[1:]) > rates[7] > rates[8]


def weights(run: Path) -> bytes:
    return (run / "checkpoints" / "step-000009" / "model.safetensors").read_bytes()


def test_a_training_with_threads_repeats_and_resumes_to_the_same_bytes(
    nursery: Nursery, store: Path, tmp_path: Path
) -> None:
    def train(name: str, *more: object, **training: Any) -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"model": SHAPE, "train": TRAINING | training}))
        done = nursery.train(
            "midi", "--data", store, "--out", tmp_path / name, "--config", file, "--device", "cpu", "--seed", 7, *more
        )
        assert done.code == 0, done.err
        return tmp_path / name

    whole = train("whole")
    # As if it had been killed after step 6.
    halves = shutil.copytree(whole, tmp_path / "halves") / "checkpoints"
    shutil.rmtree(halves / "step-000009")
    (halves / "latest").write_text("step-000006\n")
    train("halves", "--resume", "auto")
    assert json.loads((whole / "checkpoints" / "step-000009" / "config.json").read_text())["facts"]["threads"] == 3
    assert weights(train("again")) == weights(whole)
    assert weights(tmp_path / "halves") == weights(whole)
