"""Training: schedule, weight decay, evaluation, early stopping, and that the loss falls."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import DEVICES, SHORTCUTS, make_core, random_ids, small_config
from small_stores import midi_store
from torch.nn import functional as F

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.config import TrainConfig
from muse_shortcut.data.batches import TrainingBatches, evaluation_windows
from muse_shortcut.data.store import open_store
from muse_shortcut.errors import CheckpointError, OutputError, TrainingError
from muse_shortcut.model.core import Core
from muse_shortcut.training.log import MetricsLog
from muse_shortcut.training.loop import Status, Trainer, Validation
from muse_shortcut.training.optimiser import Optimiser, learning_rate
from muse_shortcut.training.run import RunFolder, TrainingProgress
from muse_shortcut.training.samples import write_samples
from muse_tokenizers.loading import domain_of, load_tokenizer

SHORT = TrainConfig(
    max_steps=6, batch_size=3, learning_rate=0.01, final_learning_rate=0.001, warmup_steps=2, eval_every=2,
    eval_windows=5, save_every=3, sample_every=0, precision="float32", tensorboard=False, augment=False,
)  # fmt: skip


# The schedule and the optimiser


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    config = TrainConfig(max_steps=110, warmup_steps=10, learning_rate=0.8, final_learning_rate=0.2)
    assert [learning_rate(step, config) for step in (1, 5, 10)] == pytest.approx([0.08, 0.4, 0.8])
    assert learning_rate(60, config) == pytest.approx(0.5)  # half way
    assert learning_rate(35, config) == pytest.approx(0.2 + 0.6 * (1 + math.sqrt(0.5)) / 2)
    assert learning_rate(110, config) == 0.2
    assert learning_rate(500, config) == 0.2
    rates = [learning_rate(step, config) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)


def test_a_schedule_can_do_without_warmup_or_be_all_warmup() -> None:
    config = TrainConfig(max_steps=4, warmup_steps=0, learning_rate=0.8, final_learning_rate=0.8)
    assert [learning_rate(step, config) for step in (1, 2, 4)] == [0.8, 0.8, 0.8]
    config = TrainConfig(max_steps=4, warmup_steps=8, learning_rate=0.8, final_learning_rate=0.0)
    assert [learning_rate(step, config) for step in (1, 4)] == [0.1, 0.4]


def test_with_decay_steps_the_rate_stands_and_then_falls_in_a_line() -> None:
    config = TrainConfig(
        max_steps=100, warmup_steps=10, learning_rate=0.8, final_learning_rate=0.2, decay_steps=20
    )  # fmt: skip
    assert [learning_rate(step, config) for step in (5, 10, 50, 80)] == pytest.approx([0.4, 0.8, 0.8, 0.8])
    assert [learning_rate(step, config) for step in (90, 100, 300)] == pytest.approx([0.5, 0.2, 0.2])
    # Where there was no more gain after step 40, it falls from there.
    assert [learning_rate(step, config, 40) for step in (40, 50, 60, 61)] == pytest.approx([0.8, 0.5, 0.2, 0.2])


OPTIMISERS = ("muon", "adamw")


def _rates(optimiser: Optimiser) -> dict[int, tuple[float, float]]:
    """Decay and rate by parameter."""
    return {id(p): (g["weight_decay"], g["lr"]) for g in optimiser.groups for p in g["params"]}  # type: ignore[misc,attr-defined]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("tied", [False, True])
def test_weights_decay_but_neither_embeddings_nor_vectors(optimiser: Any, tied: bool) -> None:
    core = Core(small_config(SHORTCUTS["all depths"], streams=3, tied_embeddings=tied))
    config = TrainConfig(
        optimiser=optimiser, weight_decay=0.3, beta1=0.8, beta2=0.9, learning_rate=0.1, embedding_learning_rate=0.02
    )
    made = Optimiser(core, config)
    made.step(0.05)
    rates = _rates(made)
    assert sum(len(group["params"]) for group in made.groups) == len(rates)  # type: ignore[arg-type]
    assert set(rates) == {id(p) for p in core.parameters()}
    for name, parameter in core.named_parameters():
        outer = name.startswith(("embeddings.", "heads."))
        if optimiser == "muon":
            expected = (0.0, 0.01) if parameter.ndim == 1 or outer else (0.3, 0.05)
        else:
            spared = parameter.ndim == 1 or name.startswith("embeddings.")
            expected = (0.0 if spared else 0.3, 0.05)
        assert rates[id(parameter)] == pytest.approx(expected), name
    assert {tuple(g["betas"]) for g in made.groups if "betas" in g} == {(0.8, 0.9)}  # type: ignore[arg-type]


def test_muon_moves_a_matrix_by_an_orthogonal_one() -> None:
    core = Core(small_config(SHORTCUTS["two taps"]))
    weight = core.last.attention.query.weight
    before = weight.detach().clone()
    # Singular values from 1 to 100.
    left, right = (torch.linalg.qr(torch.randn(30, 30, generator=torch.Generator().manual_seed(s)))[0] for s in (1, 2))
    weight.grad = left @ torch.diag(torch.logspace(0, 2, 30)) @ right
    Optimiser(core, TrainConfig(weight_decay=0.0, learning_rate=0.1)).step(0.1)
    # The update's length is AdamW's: 0.2 of the rate, root mean square, for a matrix that is orthogonal.
    moved = (before - weight.detach()) / (0.1 * 0.2 * 30**0.5)
    values = torch.linalg.svdvals(moved)
    assert 0.5 < values.min() < values.max() < 1.4
    assert (left @ right * moved).sum() / 30 > 0.8


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_optimisers_state_is_read_as_it_was_written(optimiser: Any) -> None:
    config = replace(SHORT, optimiser=optimiser)
    core = Core(small_config(SHORTCUTS["two taps"]))
    made = Optimiser(core, config)
    core(random_ids(2, 7, 1)).sin().sum().backward()
    made.step(0.01)
    tensors = made.tensors()
    count = {name: len([key for key in tensors if key.startswith(f"{name}/")]) for name, _ in core.named_parameters()}
    assert set(count.values()) == ({1, 3} if optimiser == "muon" else {3})
    again = Optimiser(Core(core.config), config)
    again.load(tensors, "a file")
    assert again.tensors().keys() == tensors.keys()
    for name, tensor in again.tensors().items():
        assert torch.equal(tensor, tensors[name])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_state_before_the_first_step_is_the_one_that_the_first_step_makes(optimiser: Any) -> None:
    config = replace(SHORT, optimiser=optimiser)
    cores = [make_core(small_config(SHORTCUTS["two taps"]), dtype=torch.float32) for _ in range(2)]
    for core, started in zip(cores, (False, True), strict=True):
        made = Optimiser(core, config)
        if started:
            made.begin()
        for _ in range(2):
            core(random_ids(2, 7, 1)).sin().sum().backward()
            made.step(0.01)
    for one, other in zip(*(core.state_dict().values() for core in cores), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("last.attention.query.weight", "momentum_buffer"),
        ("heads.0.weight", "exp_avg"),
        ("heads.0.weight", "exp_avg_sq"),
        ("heads.0.weight", "step"),
    ],
)
def test_an_optimisers_state_of_another_model_is_refused(name: str, key: str) -> None:
    core = Core(small_config(SHORTCUTS["two taps"]))
    optimiser = Optimiser(core, SHORT)
    optimiser.begin()
    good = optimiser.tensors()
    full = f"{name}/{key}"
    for bad in ({k: v for k, v in good.items() if k != full}, good | {full: torch.zeros(30, 31)}):
        with pytest.raises(CheckpointError, match=rf"a file is damaged: it has no state for {name} \("):
            optimiser.load(bad, "a file")


# The loop


Make = Callable[..., Trainer]


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Make:
    """A trainer on a small store, its run in tmp_path / run."""
    store = open_store(midi_store(tmp_path_factory))
    tokenizer = load_tokenizer(store.tokenizer_folder)

    def make(
        config: TrainConfig = SHORT,
        run: str = "run",
        core: Core | None = None,
        precision: torch.dtype = torch.float32,
        device: str = "cpu",
        tokens: np.ndarray[Any, Any] | None = None,
        windows: np.ndarray[Any, Any] | None = None,
        **shape: Any,
    ) -> Trainer:
        torch.manual_seed(0)
        sizes = {"vocabulary_size": tokenizer.vocabulary_size, "context": 24} | shape
        core = core or Core(small_config(SHORTCUTS["two taps"], **sizes))
        checkpoint = Checkpoint(core=core.to(device), tokenizer=tokenizer)

        def batches(window: int) -> TrainingBatches:
            return TrainingBatches(
                store.split("train") if tokens is None else tokens,
                context=window,
                batch=config.windows_per_batch(24, window),
                seed=1,
                variations=domain_of(tokenizer).variations() if config.augment else None,
            )

        if windows is None:
            windows = evaluation_windows(store.split("validation"), context=24, count=config.eval_windows)
        folder = RunFolder(tmp_path / run)
        folder.claim()
        return Trainer(checkpoint, batches, windows, folder, config, seed=1, precision=precision)

    return make


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer._core.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["plain", "two taps", "column"])
def test_the_loss_goes_down_where_there_is_something_to_learn(make: Make, kind: str, device: str) -> None:
    config = replace(
        SHORT,
        max_steps=80,
        warmup_steps=5,
        eval_every=80,
        save_every=100,
        learning_rate=0.03,
        embedding_learning_rate=0.03,
    )
    core = Core(small_config(SHORTCUTS[kind], vocabulary_size=391, context=24))
    tokens = np.tile(np.array([[5], [300], [77], [12], [77]]), (50, 1))
    trainer = make(
        config, device=device, core=core, tokens=tokens, windows=evaluation_windows(tokens, context=24, count=5)
    )
    seen: list[Status] = []
    progress = trainer.train(seen.append)
    assert seen[0].step == 0
    assert seen[0].validation == pytest.approx(math.log(391), abs=0.3)
    assert progress.best is not None
    assert progress.best < 0.1
    assert [status.step for status in seen] == list(range(81))


def test_bfloat16_learns_as_float32_does(make: Make) -> None:
    losses = [
        make(run=str(precision), precision=precision).train().best for precision in (torch.float32, torch.bfloat16)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert losses[0] != losses[1]


def test_evaluation_is_the_mean_over_the_windows_whatever_the_batch(make: Make) -> None:
    windows = random_ids(7, 25, 1, vocabulary=391).numpy()
    core = make_core(small_config(SHORTCUTS["two taps"], vocabulary_size=391, context=24), dtype=torch.float32)
    with torch.no_grad():
        logits = core(torch.from_numpy(windows[:, :-1]))
        expected = F.cross_entropy(logits.flatten(0, -2), torch.from_numpy(windows[:, 1:]).flatten()).item()
    for batch in (1, 3, 7, 100):
        trainer = make(replace(SHORT, batch_size=batch), core=core, windows=windows, run=f"run-{batch}")
        assert trainer.evaluate().nats == pytest.approx(expected, rel=1e-5)


def test_padding_is_not_scored(make: Make) -> None:
    windows = random_ids(4, 25, 1, vocabulary=391).numpy()
    trainer = make(replace(SHORT, batch_size=2), windows=windows)
    pad = trainer._checkpoint.tokenizer.pad
    windows[windows == pad] = 5
    windows[1, 10:], windows[2, 3:] = pad, pad
    with torch.no_grad():
        logits = trainer._core.eval()(torch.from_numpy(windows[:, :-1])).log_softmax(-1)
    targets = torch.from_numpy(windows[:, 1:])
    scores = -logits.gather(-1, targets[..., None])[..., 0]
    assert trainer.evaluate().nats == pytest.approx(scores[targets != pad].mean().item(), rel=1e-5)


def test_evaluation_changes_nothing_and_has_no_dropout(make: Make) -> None:
    trainer = make(dropout=0.5)
    assert trainer.evaluate() == trainer.evaluate()
    plain = make(run="often", dropout=0.5)
    often = replace(SHORT, eval_every=1)
    plain.train()
    frequent = make(often, run="seldom", dropout=0.5)
    frequent.train()
    assert same(weights(plain), weights(frequent))


def test_samples_change_nothing(make: Make) -> None:
    def disturb(_: int) -> None:
        sampled._core.eval()
        torch.manual_seed(99)
        np.random.default_rng().random()

    plain = make(dropout=0.3)
    plain.train()
    sampled = make(replace(SHORT, sample_every=1), run="sampled", dropout=0.3)
    sampled.train(sample=disturb)
    assert same(weights(plain), weights(sampled))


def test_samples_are_written_when_they_are_due(make: Make) -> None:
    steps: list[int] = []
    make(replace(SHORT, max_steps=7, sample_every=3)).train(sample=steps.append)
    assert steps == [3, 6, 7]


def test_accumulation_is_one_larger_batch(make: Make) -> None:
    # One step and its gradients: an optimiser that divides by their size makes much of how the smallest are rounded.
    large = make(replace(SHORT, batch_size=6, max_steps=1))
    large.train()
    small = make(replace(SHORT, batch_size=2, accumulation=3, max_steps=1), run="small")
    small.train()
    for (name, whole), part in zip(large._core.named_parameters(), small._core.parameters(), strict=True):
        torch.testing.assert_close(part.grad, whole.grad, atol=1e-6, rtol=1e-4, msg=name)
    assert lines(large._run.folder)[-1]["loss"] == pytest.approx(lines(small._run.folder)[-1]["loss"], rel=1e-5)


def test_dropout_and_augmentation_are_drawn_from_seed_and_step(make: Make) -> None:
    config = replace(SHORT, augment=True)
    first, again, other = (make(config, run=run, dropout=0.3) for run in ("a", "b", "c"))
    other._seed = 2
    for trainer in (first, again, other):
        trainer.train()
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_the_gradient_is_clipped_to_its_longest(make: Make) -> None:
    norms = {}
    for clip in (0.0, 1e-6):
        trainer = make(replace(SHORT, clip=clip), run=f"clip-{clip}")
        trainer.train()
        norms[clip] = [line["gradient_norm"] for line in lines(trainer._run.folder)[1:]]
        total = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in trainer._core.parameters() if p.grad is not None))
        assert total == pytest.approx(clip or norms[clip][-1], rel=1e-3)
    assert norms[1e-6][0] == norms[0.0][0] > 0.01  # the log has the length before


def _still(**changes: Any) -> TrainConfig:
    """A training that finds no gain."""
    standing = {"learning_rate": 1e-9, "embedding_learning_rate": 1e-9, "final_learning_rate": 0.0}
    return replace(SHORT, **(standing | {"patience": 3, "max_steps": 100, "save_every": 50} | changes))


def test_training_ends_when_patience_does(make: Make) -> None:
    still = _still()
    trainer = make(still)
    progress = trainer.train()
    assert progress.step == 6  # evaluations at 2, 4 and 6 without a gain
    assert progress.evaluations_without_improvement == 3
    latest = trainer._run.latest()
    assert latest is not None
    assert latest.name == "step-000006"
    again = make(still)
    assert again.resume()
    assert again.train().step == 6
    assert len(lines(trainer._run.folder)) == 7


def test_where_there_is_no_more_gain_the_rate_falls_and_training_ends_with_it(make: Make) -> None:
    config = _still(decay_steps=5)
    progress = make(config).train()
    assert (progress.decay_start, progress.step) == (6, 11)
    rates = {line["step"]: line["learning_rate"] for line in lines(make(config)._run.folder)[1:]}
    assert [rates[step] for step in (5, 6)] == [1e-9, 1e-9]
    assert [rates[step] for step in range(7, 12)] == pytest.approx([8e-10, 6e-10, 4e-10, 2e-10, 0.0])


def test_a_decay_continues_when_patience_runs_out_during_it(make: Make) -> None:
    config = replace(SHORT, max_steps=8, decay_steps=4, eval_every=1, patience=6, min_delta=100.0)
    trainer = make(config)
    trainer.train()
    assert trainer.progress.step == 8
    rates = [line["learning_rate"] for line in lines(trainer._run.folder)[1:]]
    assert rates == [learning_rate(step, config) for step in range(1, 9)]
    assert rates[-1] == pytest.approx(config.final_learning_rate)


def test_a_batch_has_as_many_tokens_whatever_its_windows() -> None:
    config = TrainConfig(batch_size=8, window=256, decay_steps=10)
    assert [config.windows_per_batch(1024, window) for window in (256, 1024)] == [8, 2]
    long = TrainConfig(batch_size=8, window=2048, decay_steps=10)
    assert (long.initial_window(1024), long.windows_per_batch(1024, 1024)) == (1024, 8)
    assert TrainConfig(batch_size=3).windows_per_batch(1024, 1024) == 3


def test_windows_are_short_while_the_rate_stands_and_whole_in_its_fall(make: Make) -> None:
    config = _still(decay_steps=4, window=8, batch_size=6)
    trainer = make(config)
    read: list[tuple[int, ...]] = []
    forward = trainer._core.forward
    trainer._core.forward = lambda ids: (read.append(tuple(ids.shape)), forward(ids))[1]  # type: ignore[method-assign]
    assert trainer.train().decay_start == 6
    trained = [shape for shape in read if shape[0] in (6, 2)]
    assert trained[-4:] == [(2, 24, 1)] * 4
    assert trained.count((6, 8, 1)) == 6
    # As many tokens per step all the time.
    assert trainer.progress.tokens == 10 * 48


@pytest.mark.parametrize("stop_at", [3, 6, 8])
def test_a_training_whose_rate_falls_goes_on_as_if_it_had_never_stopped(make: Make, stop_at: int) -> None:
    # Nothing is a gain: patience ends after two evaluations, at step 4.
    config = replace(SHORT, max_steps=50, patience=2, min_delta=1e9, decay_steps=6, window=8)
    whole = make(config, run="whole")
    assert whole.train().step == 10
    parts = make(config, run="parts")
    seen: list[int] = []
    parts.train(lambda status: seen.append(status.step), should_stop=lambda: seen[-1] >= stop_at)
    assert parts.progress.step == stop_at
    again = make(config, run="parts", core=parts._core)
    assert again.resume()
    assert again.train().step == 10
    for one, other in zip(whole._core.state_dict().values(), again._core.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_small_gains_add_up_before_patience_ends(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([3.0, 2.99, 2.98, 2.94, 2.93, 2.92, 2.91])
    trainer = make(replace(SHORT, patience=3, min_delta=0.05, max_steps=12, eval_every=2))
    monkeypatch.setattr(trainer, "evaluate", lambda: Validation(nats=next(values), by_stream=()))
    progress = trainer.train()
    assert (progress.step, progress.evaluations_without_improvement) == (12, 3)
    assert (progress.reference, progress.best) == (2.94, 2.91)


@pytest.mark.parametrize("cause", ["loss", "gradient"])
def test_a_loss_that_is_no_number_stops_the_training_and_keeps_the_last_good_checkpoint(make: Make, cause: str) -> None:
    trainer = make(replace(SHORT, max_steps=50, save_every=2))

    def poison(status: Status) -> None:
        if status.step == 5 and cause == "loss":
            trainer._core.embeddings[0].weight.data.fill_(math.nan)

    if cause == "gradient":  # of a loss that is a number
        trainer._core.norm.weight.register_hook(lambda g: g * math.inf if trainer.progress.step == 5 else g)
    with pytest.raises(TrainingError) as stopped:
        trainer.train(poison)
    message = str(stopped.value)
    kept = trainer._run.latest()
    assert kept is not None
    assert kept.name == "step-000004"
    assert message.startswith("step 6: the loss is ")
    assert f"{kept} is the last good checkpoint" in message
    assert "\n" not in message
    checkpoint = load_checkpoint(kept)
    assert all(torch.isfinite(weight).all() for weight in checkpoint.core.state_dict().values())
    assert [line["step"] for line in lines(trainer._run.folder)] == [0, 1, 2, 3, 4, 5]
    again = make(SHORT, core=checkpoint.core)
    assert again.resume()
    assert again.train().step == 6


def test_too_high_a_learning_rate_ends_in_that_error_too(make: Make) -> None:
    trainer = make(replace(SHORT, max_steps=50, learning_rate=1e30, warmup_steps=0))
    with pytest.raises(TrainingError, match=r"A lower learning_rate or a stricter clip may help"):
        trainer.train()
    kept = trainer._run.latest()
    assert kept is not None
    load_checkpoint(kept)


def test_when_stopped_it_finishes_the_step_and_saves_a_checkpoint(make: Make) -> None:
    trainer = make(replace(SHORT, max_steps=50, save_every=50))
    asked: list[int] = []
    progress = trainer.train(should_stop=lambda: asked.append(1) or len(asked) == 4)
    assert progress.step == 4
    latest = trainer._run.latest()
    assert latest is not None
    assert latest.name == "step-000004"


def test_a_training_that_goes_on_from_every_checkpoint_is_the_same_as_one_that_does_not(make: Make) -> None:
    config = replace(SHORT, augment=True, accumulation=2, save_every=1, max_steps=5)
    whole = make(config, run="whole", dropout=0.3)
    whole.train()
    for _ in range(5):
        trainer = make(config, run="parts", dropout=0.3)
        kept = trainer._run.latest()
        if kept is not None:
            trainer = make(config, run="parts", core=load_checkpoint(kept).core)
            assert trainer.resume()
        trainer.train(should_stop=lambda: True)
    assert same(weights(trainer), weights(whole))
    drawn = [[(line["step"], line.get("loss")) for line in lines(t._run.folder)] for t in (trainer, whole)]
    assert drawn[0] == drawn[1]
    assert not make(config, run="new").resume()


# The run's folder


def save(make: Make, run: RunFolder, step: int, *, is_best: bool = False, keep: int = 2) -> None:
    trainer = make(run="other")
    trainer._begin()
    run.save(trainer._checkpoint, trainer.optimiser, TrainingProgress(step=step), is_best=is_best, keep=keep)


def kept(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


def test_the_newest_checkpoints_are_kept_and_the_best_besides(make: Make, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.latest() is None
    assert run.best() is None
    for step in (0, 5, 10, 15):
        save(make, run, step, is_best=step == 5)
    assert kept(run) == ["best", "latest", "step-000005", "step-000010", "step-000015"]
    save(make, run, 20, is_best=True, keep=1)
    assert kept(run) == ["best", "latest", "step-000020"]


def test_checkpoints_are_counted_as_numbers_and_not_as_words(make: Make, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    for step in (999_998, 999_999, 1_000_000, 1_000_001):
        save(make, run, step, keep=2)
    assert kept(run) == ["latest", "step-1000000", "step-1000001"]


def test_temporary_files_of_a_killed_process_are_removed(make: Make, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    save(make, run, 5)
    (run.checkpoints / "step-000005").rename(run.checkpoints / ".step-000005.999999999.old.tmp")
    (run.checkpoints / ".step-000005.999999999.tmp").mkdir()
    (run.checkpoints / ".latest.999999999.tmp").write_text("")
    (run.folder / ".metrics.jsonl.999999999.tmp").write_text("")
    again = RunFolder(tmp_path / "run")
    again.claim()
    assert kept(again) == ["latest", "step-000005"]
    assert sorted(path.name for path in again.folder.iterdir()) == ["checkpoints"]


def test_a_run_where_there_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        RunFolder(tmp_path / "run").claim()


def test_a_folder_of_other_things_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / ".keep.tmp").write_text("mine")
    with pytest.raises(OutputError, match="has other files in it; a run needs a folder of its own"):
        RunFolder(tmp_path).claim()
    assert (tmp_path / ".keep.tmp").read_text() == "mine"


def test_reading_a_run_does_not_touch_unfinished_saves(make: Make, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    save(make, run, 5, is_best=True)
    being_written = run.checkpoints / f".step-000007.{os.getppid()}.tmp"
    being_written.mkdir()
    assert RunFolder(tmp_path / "run").best() == run.checkpoints / "step-000005"
    run.claim()
    assert being_written.is_dir()


# The log


def test_a_resumed_log_continues_after_the_checkpoint_and_sets_later_lines_aside(tmp_path: Path) -> None:
    path, apart = tmp_path / "metrics.jsonl", tmp_path / "metrics.superseded.jsonl"
    good = "".join(f'{{"step": {step}, "loss": 1.5}}\n' for step in range(5))
    for tail in ("", '{"step": 5, "lo', "noise\n", "[5]\n", '{"loss": 2}\n', '{"step": "x"}\n', "\x00\n"):
        path.write_text(good + tail)
        apart.unlink(missing_ok=True)
        log = MetricsLog(tmp_path, 3, tensorboard=False)
        log.write(4, {"loss": 2.5})
        log.close()
        assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
            (0, 1.5), (1, 1.5), (2, 1.5), (3, 1.5), (4, 2.5),
        ]  # fmt: skip
        assert apart.read_text() == '{"step": 4, "loss": 1.5}\n' + (
            tail if not tail or tail.endswith("\n") else tail + "\n"
        )
    # A damaged line in the middle costs itself alone.
    path.write_bytes(b"\xff\xfe\n" + good.encode())
    MetricsLog(tmp_path, 9, tensorboard=False).close()
    assert path.read_text() == good
    MetricsLog(tmp_path, -1, tensorboard=False).close()
    assert path.read_text() == ""
    assert apart.read_text().endswith(good)


def test_a_log_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, -1, tensorboard=False)
    log._file.close()
    log._file = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115
    with pytest.raises(OutputError, match=r"cannot write .*metrics.jsonl: No space left on device"):
        log.write(0, {"loss": 1.0})
    log.close()


def test_tensorboard_is_written_beside_the_log(make: Make) -> None:
    make(replace(SHORT, tensorboard=True, max_steps=2)).train()
    trainer = make(SHORT, run="without")
    trainer.train()
    assert not (trainer._run.folder / "tensorboard").exists()
    files = list((trainer._run.folder.parent / "run" / "tensorboard").iterdir())
    assert [file.name.startswith("events.out.tfevents") for file in files] == [True]
    assert b"validation" in files[0].read_bytes()


def test_a_board_that_cannot_be_written_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(tmp_path, -1, tensorboard=True)

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("add_scalar", "close"):
        monkeypatch.setattr(log._board, name, no_room)
    with pytest.raises(OutputError, match=r"cannot write .*tensorboard: No space left on device"):
        log.write(0, {"loss": 1.0})
    log.close()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*tensorboard: File exists"):
        MetricsLog(tmp_path / "run", -1, tensorboard=True)


# Samples


def test_samples_are_music_and_their_sound(make: Make, tmp_path: Path) -> None:
    trainer = make()
    checkpoint = trainer._checkpoint
    tokenizer = checkpoint.tokenizer
    prompt = np.concatenate([[[tokenizer.begin]], trainer._windows[0, 1:9]])
    written = write_samples(checkpoint, prompt, tmp_path / "run", 5, seed=3)
    folder = tmp_path / "run" / "samples" / "step-000005"
    assert {path.parent for path in written} == {folder}
    assert {path.name for path in folder.iterdir()} == {
        "continued.mid", "continued.wav", "from-nothing.mid", "from-nothing.wav",
    }  # fmt: skip
    before = {path.name: path.read_bytes() for path in written}
    write_samples(checkpoint, prompt, tmp_path / "run", 5, seed=3)
    assert {path.name: path.read_bytes() for path in written} == before
