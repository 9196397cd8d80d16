"""Checkpoints: a network, its tokenizer, and metadata of both.

    checkpoint/  config.json  model.safetensors  generation.json  tokenizer/  README.md  training/

Weights are stored as safetensors; nothing is unpickled. `training/` holds the state from which training resumes, in a
format that only training reads.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from muse_shortcut.config import ModelConfig, SamplingConfig
from muse_shortcut.errors import ArgumentsError, CheckpointError, OutputError
from muse_shortcut.files import write_bytes, write_text
from muse_shortcut.model.core import Core
from muse_shortcut.runs import find_checkpoint
from muse_tokenizers.base import Tokenizer
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import TokenizerError, UnknownTokenizerError
from muse_tokenizers.json_files import read_json, version_problem
from muse_tokenizers.loading import domain_of, load_tokenizer
from muse_tokenizers.plugins import BUILT_IN_DOMAINS

__all__ = ["VERSION", "Checkpoint", "load_checkpoint", "read_core", "read_sampling", "read_tensors", "save_checkpoint"]

VERSION = 1
HUB_FIELDS = {
    "library_name": "muse-shortcut",
    "model_type": "muse-shortcut",
    "architectures": [Core.__name__],
}
"""The keys by which the tools of the Hugging Face Hub recognise a config.json."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained network and everything that belongs to it."""

    core: Core
    tokenizer: Tokenizer[Any]
    sampling: SamplingConfig = SamplingConfig()
    """Recommended sampling options."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Training metadata: steps, tokens, validation loss, data, licence."""
    card: str = ""
    """Its model card."""
    digest: str = ""
    """SHA-256 of the weights file that it was read from."""

    @cached_property
    def domain(self) -> Domain[Any]:
        """Domain of the tokenizer."""
        return domain_of(self.tokenizer)


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint, or the best one of a run (the latest if there is no best one).

    Args:
        folder: Folder of the checkpoint or the run.
        device: Device of the network, which is in float32 and in evaluation mode.

    Raises:
        CheckpointError: A file is missing or damaged, or the parts do not belong together.
    """
    folder = find_checkpoint(folder)
    if not folder.is_dir():
        what = "that is a file" if folder.is_file() else "there is no such folder"
        raise CheckpointError(
            f"no checkpoint at {folder}: {what}; allowed: the folder of a checkpoint or of a run, or "
            f"{', '.join(BUILT_IN_DOMAINS)}, the shipped models"
        )
    if not (folder / "config.json").exists():
        raise CheckpointError(f"{folder} is not a checkpoint: it has no config.json")
    config = read_json(folder / "config.json", CheckpointError)
    if not isinstance(config, dict) or "version" not in config:
        raise CheckpointError(
            f"{folder / 'config.json'} is not the configuration of a checkpoint: it has no field 'version'"
        )
    problem = version_problem(config["version"], VERSION)
    if problem is not None:
        raise CheckpointError(f"{folder / 'config.json'} cannot be read: {problem}")
    if not isinstance(config.get("facts", {}), dict):
        raise CheckpointError(f"{folder / 'config.json'} is damaged: its facts are not a JSON object")
    try:
        model = ModelConfig.from_json(config.get("model"))
        tokenizer = load_tokenizer(folder / "tokenizer")
    except (CheckpointError, UnknownTokenizerError) as error:
        raise CheckpointError(f"checkpoint {folder}: {error}") from error
    except (TypeError, ValueError, LookupError, RecursionError) as error:
        path = folder / "tokenizer" / "tokenizer.json"
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {_first_line(error)}") from error
    if (model.vocabulary_size, model.streams) != (tokenizer.vocabulary_size, tokenizer.streams):
        raise CheckpointError(
            f"checkpoint {folder}: the model has {model.vocabulary_size} ids in {model.streams} streams, "
            f"its tokenizer {tokenizer.vocabulary_size} in {tokenizer.streams}"
        )
    weights = folder / "model.safetensors"
    data = _read_bytes(weights)
    digest = hashlib.sha256(data).hexdigest()
    # Checkpoints from before these digests were introduced lack them.
    if config.get("sha256", digest) != digest:
        raise CheckpointError(f"{weights} is damaged: its SHA-256 differs from the recorded one")
    core = _make_core(model, parse_tensors(data, weights), weights)
    if config.get("model_sha256", _digest_of(config["model"])) != _digest_of(config["model"]):
        raise CheckpointError(
            f"{folder / 'config.json'} is damaged: its model differs from the recorded one; if you changed it, remove "
            "model_sha256"
        )
    return Checkpoint(
        core=core.to(device).eval(),
        tokenizer=tokenizer,
        sampling=read_sampling(folder / "generation.json"),
        facts=config.get("facts", {}),
        card=_read_card(folder / "README.md"),
        digest=digest,
    )


def _digest_of(model: Any) -> str:
    """Return the SHA-256 of a model's configuration as it is in the file: heads of another number fit the same weights,
    and compute something else."""
    return hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()


def read_core(model: ModelConfig, weights: Path) -> Core:
    """Build a network from a configuration and the weights in a file, on the CPU.

    Raises:
        CheckpointError: The file is missing or damaged, or its tensors have other shapes.
    """
    return _make_core(model, read_tensors(weights), weights)


def _make_core(model: ModelConfig, tensors: dict[str, torch.Tensor], weights: Path) -> Core:
    if model.tied_embeddings:
        tied = {f"heads.{k}.weight": tensors.get(f"embeddings.{k}.weight") for k in range(model.streams)}
        tensors |= {name: tensor for name, tensor in tied.items() if tensor is not None}
    # Check the size before the network is built: a damaged config.json may request any amount of memory.
    found, least = sum(tensor.numel() for tensor in tensors.values()), _least_parameters(model)
    if least > found:
        raise CheckpointError(f"{weights} does not fit its config.json: it has {found:,} numbers, {least:,} are needed")
    try:
        core = Core(model)
    except ArgumentsError as error:
        raise CheckpointError(f"{weights.parent}: {error}") from error
    try:
        core.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not fit its config.json: {_first_problem(error)}") from error
    return core


def _least_parameters(model: ModelConfig) -> int:
    """Number of weights in the matrices, without the output head."""
    mlp = 0 if model.shortcut is None else model.shortcut.mlp_width
    layers = model.layers if model.last_layer is None else model.layers - 1
    if model.last_layer is not None:
        mlp = 0
    rows = model.streams * model.vocabulary_size + layers * (4 * model.width + 2 * model.feed_forward)
    return model.width * (rows + 2 * mlp * len(model.depths))


def save_checkpoint(checkpoint: Checkpoint, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint into an existing folder. The caller ensures that the folder appears atomically.

    Args:
        checkpoint: The checkpoint.
        folder: An empty folder.
        dtype: Data type of the stored weights.

    Raises:
        OutputError: A file could not be written.
    """
    folder, core = Path(folder), checkpoint.core
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in core.state_dict().items()}
    if core.config.tied_embeddings:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("heads.")}
    data = save_tensors(state, metadata={"format": "pt"})
    write_bytes(folder / "model.safetensors", data)
    digest = hashlib.sha256(data).hexdigest()
    model = core.config.to_json()
    content = {
        "version": VERSION,
        **HUB_FIELDS,
        "model": model,
        "facts": checkpoint.facts,
        "sha256": digest,
        "model_sha256": _digest_of(model),
    }
    write_text(folder / "config.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "generation.json", json.dumps(asdict(checkpoint.sampling), indent=2) + "\n")
    write_text(folder / "README.md", checkpoint.card)
    try:
        checkpoint.tokenizer.save(folder / "tokenizer")
    except TokenizerError as error:
        raise OutputError(str(error)) from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        CheckpointError: The file is missing, truncated or of another format, or contains NaN or infinite values.
    """
    return parse_tensors(_read_bytes(path), path)


def parse_tensors(data: bytes, path: Path) -> dict[str, torch.Tensor]:
    """Parse the content of a safetensors file. Raises CheckpointError."""
    try:
        tensors = load_tensors(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a data type that torch does not have
        raise CheckpointError(f"{path} is damaged: {_first_line(error)}") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise CheckpointError(f"{path} is damaged: {name} has entries that are infinite or no numbers")
    return tensors


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _read_card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: it is not text") from error


def read_sampling(path: Path) -> SamplingConfig:
    """Read the sampling options of a checkpoint's generation.json. Raises CheckpointError."""
    content = read_json(path, CheckpointError)
    known = {item.name for item in fields(SamplingConfig)}
    if not isinstance(content, dict) or not set(content) <= known:
        raise CheckpointError(f"{path} is damaged: its fields are {sorted(known)}")
    try:
        return SamplingConfig(**content)
    except (ArgumentsError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _first_problem(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1] if len(lines) > 1 else lines[0]
