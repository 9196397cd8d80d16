"""Creates the initial checkpoint of a training: new, from another checkpoint, or from the run's own latest one."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from muse_shortcut.cards import parent_facts
from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.config import ModelConfig, SamplingConfig, TrainConfig
from muse_shortcut.data.store import Store
from muse_shortcut.earlier_names import TRAIN, current_names
from muse_shortcut.errors import ArgumentsError, CheckpointError
from muse_shortcut.hub import is_on_hub
from muse_shortcut.model.core import Core
from muse_shortcut.runs import find_checkpoint
from muse_tokenizers.loading import domain_of, load_tokenizer

__all__ = ["fresh_checkpoint", "resumed_checkpoint", "tuned_checkpoint"]

_FREE = frozenset(
    {
        "max_steps", "eval_every", "eval_windows", "patience", "min_delta", "save_every", "keep", "sample_every",
        "tensorboard",
    }
)  # fmt: skip
"""Fields that may change when a training resumes; the others determined the steps so far."""


def fresh_checkpoint(shape: ModelConfig, store: Store, device: torch.device) -> Checkpoint:
    """Create a new core for the vocabulary of a store."""
    tokenizer = load_tokenizer(store.tokenizer_folder)
    store.check_tokenizer(tokenizer, str(store.tokenizer_folder))
    core = Core(shape.for_vocabulary(tokenizer.vocabulary_size, tokenizer.streams))
    sampling = SamplingConfig(temperature=domain_of(tokenizer).default_temperature)
    return Checkpoint(core=core.to(device), tokenizer=tokenizer, facts={}, sampling=sampling)


def tuned_checkpoint(named: Path, store: Store, device: torch.device, *, shape: ModelConfig | None) -> Checkpoint:
    """Load another checkpoint for fine-tuning.

    Args:
        named: Folder of the checkpoint or of a run (its best one), or a model on a hub.
        store: Store to train on.
        device: Device of the core.
        shape: The requested configuration, None if there is none. Only its dropout may differ from that of the
            checkpoint, and replaces it.

    Raises:
        ArgumentsError: Another configuration was requested.
        StoreError: The store was made by another tokenizer.
    """
    folder = find_checkpoint(named)
    checkpoint = load_checkpoint(folder, device)
    store.check_tokenizer(checkpoint.tokenizer, f"the checkpoint {folder}")
    name = str(named) if is_on_hub(named) else _name_of(folder)
    parent = parent_facts(name, checkpoint.digest, checkpoint.facts, checkpoint.card)
    # The metadata and the card of the parent do not apply to the new model.
    checkpoint = replace(checkpoint, facts={"parent": parent}, card="")
    if shape is None:
        return checkpoint
    own = checkpoint.core.config
    if replace(_for(shape, own), dropout=own.dropout) != own:
        raise ArgumentsError(
            f"{{model}} cannot be changed with {{start}}, which keeps the shape of {folder}; allowed: dropout",
            options=("model", "start"),
        )
    core = Core(replace(own, dropout=shape.dropout))
    core.load_state_dict(checkpoint.core.state_dict())
    return replace(checkpoint, core=core.to(device))


def resumed_checkpoint(
    folder: Path, store: Store, device: torch.device, *, seed: int, train: TrainConfig, shape: ModelConfig | None
) -> Checkpoint:
    """Load the latest checkpoint of a run, to resume as if the training had never stopped.

    Raises:
        ArgumentsError: An option was changed that must not change.
        StoreError: The store was made by another tokenizer.
    """
    checkpoint = load_checkpoint(folder, device)
    store.check_tokenizer(checkpoint.tokenizer, f"the checkpoint {folder}")
    facts = checkpoint.facts
    if facts.get("store") != store.manifest["sha256"]:
        raise ArgumentsError(
            f"{folder} was trained on another store than {store.folder}; use {{start}} to start from its weights",
            options=("start",),
        )
    trained = facts.get("train", {})
    if not isinstance(trained, dict):
        raise CheckpointError(f"{folder / 'config.json'} is damaged: facts.train is not an object")
    before = {"seed": facts.get("seed")} | {
        f"train.{name}": value for name, value in current_names(trained, TRAIN).items()
    }
    now = {"seed": seed} | {f"train.{field.name}": asdict(train)[field.name] for field in fields(TrainConfig)}
    free = _FREE | {"decay_steps"} if _is_constant_so_far(facts, trained) and train.decay_steps else _FREE
    for name, value in before.items():
        if name.removeprefix("train.") not in free and now.get(name) != value:
            raise ArgumentsError(
                f"{{{name}}} is {now.get(name)}, but {folder} was trained with {value}; allowed when it is resumed: "
                f"{value} ({{start}} starts a new training from its weights)",
                options=(name, "start"),
            )
    if shape is not None and _for(shape, checkpoint.core.config) != checkpoint.core.config:
        raise ArgumentsError(
            f"{{model}} cannot be changed when a training is resumed, which keeps the shape of {folder}",
            options=("model",),
        )
    return checkpoint


def _is_constant_so_far(facts: dict[str, Any], trained: dict[str, Any]) -> bool:
    """Whether the learning rate has not begun to decay, so that the beginning of the decay can still be chosen."""
    steps, last, decay = facts.get("steps"), trained.get("max_steps"), trained.get("decay_steps")
    if not (isinstance(steps, int) and isinstance(last, int) and isinstance(decay, int)):
        return False
    # Patience may have begun the decay at any step.
    return decay > 0 and steps <= last - decay and not trained.get("patience")


def _name_of(folder: Path) -> str:
    """Return the name of a checkpoint: that of its folder, after that of its run if it belongs to one."""
    place = folder.absolute()
    return f"{place.parents[1].name}/{place.name}" if place.parent.name == "checkpoints" else place.name


def _for(shape: ModelConfig, own: ModelConfig) -> ModelConfig:
    return shape.for_vocabulary(own.vocabulary_size, own.streams)
