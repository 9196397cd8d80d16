"""Names of options and file keys in earlier versions. They work until the next major version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["PROGRESS", "PROMPT", "SIDECAR", "TRAIN", "current_name", "current_names", "current_options"]

TRAIN = {"mix": "source_weights", "min_gain": "min_delta"}
"""Fields of `TrainConfig` and `CodecTrainConfig`: options, and keys of config.yaml and config.json."""
PROGRESS = {"stale": "evaluations_without_improvement", "falling_from": "decay_start"}
"""Keys of progress.json."""
SIDECAR = {"wishes": "constraints", "given": "forced_ids"}
"""Keys of a sidecar."""
PROMPT = {"cut": "split_point", "cut_step": "split_index", "begun": "partial_frames"}
"""Keys of the prompt in a sidecar."""


def current_names(content: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the content under the current names."""
    return {names.get(name, name): value for name, value in content.items()}


def current_name(option: str) -> str:
    """Return the current name of an option, which may be nested: "train.mix" is "train.source_weights"."""
    group, dot, field = option.partition(".")
    return f"train.{TRAIN.get(field, field)}" if group == "train" and dot else option


def current_options(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of an option file under the current names."""
    options = {current_name(name): value for name, value in content.items()}
    if isinstance(options.get("train"), Mapping):
        options["train"] = current_names(options["train"], TRAIN)
    return options
