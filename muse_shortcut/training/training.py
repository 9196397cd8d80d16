"""Training as one function: from a token store to a run folder with checkpoints.

    result = train(TrainingOptions(data="stores/mine", out="runs/mine", train=TrainConfig(max_steps=2000)))

`muse-train` calls it; a terminal or a notebook follows it through an observer.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from muse_shortcut.checkpoints import Checkpoint
from muse_shortcut.config import ModelConfig, TrainConfig
from muse_shortcut.data.batches import TrainingBatches, evaluation_windows, source_weights_of
from muse_shortcut.data.store import Store, open_store
from muse_shortcut.devices import choose_device
from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.files import write_text
from muse_shortcut.presets import PRESETS, preset_of
from muse_shortcut.shipped import named_checkpoint
from muse_shortcut.training.gradients import training_threads
from muse_shortcut.training.initialization import fresh_checkpoint, resumed_checkpoint, tuned_checkpoint
from muse_shortcut.training.loop import Status, Trainer
from muse_shortcut.training.precision import training_precision
from muse_shortcut.training.run import RunFolder
from muse_shortcut.training.samples import write_samples

if TYPE_CHECKING:
    from muse_shortcut.training.run import TrainingProgress

__all__ = ["TrainingObserver", "TrainingOptions", "TrainingPlan", "TrainingResult", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of a training. Raises ArgumentsError if a value is out of its range."""

    data: str | Path
    """Folder of a token store, made by `prepare` or `muse-prepare`."""
    out: str | Path
    """Folder of the run."""
    domain: str | None = None
    """Kind of domain that the store must have ("midi", "audio", "text", or a registered one); None accepts any."""
    preset: str | None = None
    """Configuration of a new model by name, one of `PRESETS`; None for the default of the domain."""
    model: ModelConfig | None = None
    """Configuration of a new model, instead of a preset. With `start` or `resume`, only its dropout may differ."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Configuration of the training."""
    start: str | Path | None = None
    """Checkpoint to fine-tune, named as for `load`; its configuration replaces `preset` and `model`."""
    resume: bool = False
    """Resume the training in `out`; if false, `out` must not contain one."""
    seed: int = 0
    """Seed of weights, batches and dropout. The same seed on the same machine gives the same weights."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "mps"."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise OptionError("seed", self.seed, "0 to 2^63 - 1")
        if self.preset is not None and self.preset not in PRESETS:
            raise OptionError("preset", self.preset, ", ".join(PRESETS))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """What will be trained, after everything has been read and checked."""

    checkpoint: Checkpoint
    """The model before the first step."""
    config: TrainConfig
    device: torch.device
    precision: torch.dtype
    """Data type of the forward pass."""
    windows_per_epoch: int
    resumed_from: Path | None
    """Checkpoint from which the training resumes, if it does."""


class TrainingObserver:
    """Follows a training. Override the methods as needed: by default `warn` issues a Python warning, and the others do
    nothing."""

    def warn(self, message: str) -> None:
        """Called with one line about something unexpected that does not stop the training."""
        warnings.warn(message, stacklevel=3)

    def store_opened(self, store: Store, vocabulary_size: int) -> None:
        """Called when the store is open. Reads and checks all its ids.

        Raises:
            StoreError: An id was changed.
        """
        store.check_ids(vocabulary_size)

    def started(self, plan: TrainingPlan) -> None:
        """Called once, before the first step."""

    def stepped(self, status: Status) -> None:
        """Called after every step, and before the first one with the first evaluation."""

    def should_stop(self) -> bool:
        """Called after every step; if it returns true, the training ends with a checkpoint, from which `resume`
        continues."""
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """The result of a training."""

    folder: Path
    """The run folder, which can be used wherever a checkpoint is expected: it resolves to the best one."""
    steps: int
    tokens: int
    """Number of training tokens, over all sessions."""
    best_validation: float | None
    """Lowest validation loss, in nats per token."""
    stopped: bool
    """Whether an observer ended it early."""


def train(options: TrainingOptions, observer: TrainingObserver | None = None) -> TrainingResult:
    """Train a new model, fine-tune one, or resume a training that was stopped.

    Args:
        options: Options of the training.
        observer: Follows the training, and may end it; None runs it silently to its end.

    Returns:
        The run folder and a summary.

    Raises:
        ArgumentsError: Options cannot be combined, or `out` already contains a training.
        StoreError: The store is missing, damaged, or was made by another tokenizer than the checkpoint.
        CheckpointError: A checkpoint is missing or damaged.
        TrainingError: The loss is not a finite number; the last good checkpoint remains.
        OutputError: A file could not be written.
    """
    observer = observer or TrainingObserver()
    config, seed = options.train, options.seed
    store = open_store(Path(options.data))
    if options.domain not in (None, store.domain):
        raise ArgumentsError(f"{options.data} is a store of {store.domain}, not of {options.domain}")
    device = choose_device(options.device)
    run = RunFolder(Path(options.out))
    with run.claimed(go_on=options.resume):
        resumed = run.latest(observer.warn)
        if resumed is None and run.logged() is not None:
            observer.warn(f"{run.folder} has no checkpoint yet: starting at step 0")
        torch.manual_seed(seed)
        checkpoint = _initial_checkpoint(options, store, device, resumed)
        observer.store_opened(store, checkpoint.tokenizer.vocabulary_size)
        checkpoint.facts.update(
            data=store.manifest["source"],
            store=store.manifest["sha256"],
            splits=store.manifest["splits"],
            seed=seed,
            train=asdict(config),
        )
        trainer, plan = _set_up(options, observer, store, checkpoint, run, resumed)
    shape = checkpoint.core.config
    write_text(run.folder / "config.yaml", _configuration(options, store.domain, shape))
    observer.started(plan)
    prompt = store.opening("validation" if len(store.split("validation")) else "train", shape.context // 4)
    stopped = False

    def should_stop() -> bool:
        nonlocal stopped
        stopped = stopped or observer.should_stop()
        return stopped

    def sample(step: int) -> None:
        write_samples(checkpoint, prompt, run.folder, step, seed)

    progress: TrainingProgress = trainer.train(observer.stepped, sample, should_stop)
    return TrainingResult(
        folder=run.folder,
        steps=progress.step,
        tokens=progress.tokens,
        best_validation=progress.best,
        stopped=stopped,
    )


def _initial_checkpoint(
    options: TrainingOptions, store: Store, device: torch.device, resumed: Path | None
) -> Checkpoint:
    """Return the initial checkpoint of a training."""
    if resumed is not None:
        return resumed_checkpoint(resumed, store, device, seed=options.seed, train=options.train, shape=options.model)
    if options.start is not None:
        return tuned_checkpoint(named_checkpoint(options.start), store, device, shape=options.model)
    return fresh_checkpoint(options.model or PRESETS[options.preset or preset_of(store.domain)], store, device)


def _set_up(
    options: TrainingOptions,
    observer: TrainingObserver,
    store: Store,
    checkpoint: Checkpoint,
    run: RunFolder,
    resumed: Path | None,
) -> tuple[Trainer, TrainingPlan]:
    config, context = options.train, checkpoint.core.config.context
    held_out = store.split("validation")
    if not len(held_out):
        observer.warn("the store has no validation split: validating on training windows")
        held_out = store.split("train")
    windows = evaluation_windows(held_out, context=context, count=config.eval_windows)
    variations = checkpoint.domain.variations() if config.augment else None
    source_weights = source_weights_of(store, "train", config.source_weights)

    @cache
    def batches(window: int) -> TrainingBatches:
        return TrainingBatches(
            store.split("train"),
            context=window,
            batch=config.windows_per_batch(context, window),
            seed=options.seed,
            variations=variations,
            source_weights=source_weights,
        )

    precision = training_precision(config.precision, checkpoint.core, checkpoint.facts, resumed=resumed is not None)
    checkpoint.facts["precision"] = str(precision).removeprefix("torch.")
    threads = training_threads(config, checkpoint.core, checkpoint.facts, resumed=resumed is not None)
    checkpoint.facts["threads"] = threads
    trainer = Trainer(
        checkpoint, batches, windows, run, config, seed=options.seed, precision=precision, threads=threads
    )
    if resumed is not None:
        trainer.resume()
    plan = TrainingPlan(
        checkpoint=checkpoint,
        config=config,
        device=checkpoint.core.norm.weight.device,
        precision=precision,
        windows_per_epoch=batches(config.initial_window(context)).windows_per_epoch,
        resumed_from=resumed,
    )
    return trainer, plan


def _configuration(options: TrainingOptions, domain: str, shape: ModelConfig) -> str:
    """Return the configuration as YAML that `muse-train --config` reads, with the model configuration that is actually
    used."""
    import yaml

    content = {
        "domain": domain,
        "data": str(options.data),
        "out": str(options.out),
        "preset": options.preset or preset_of(domain),
        "from": None if options.start is None else str(options.start),
        "seed": options.seed,
        "device": options.device,
        "model": {key: value for key, value in shape.to_json().items() if key not in ("vocabulary_size", "streams")},
        "train": asdict(options.train),
    }
    return str(yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False))
