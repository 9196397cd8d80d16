"""Checkpoints: a core, the tokenizer its ids belong to, and what is known of both.

    checkpoint/  config.json  model.safetensors  generation.json  tokenizer/  README.md  training/

Weights are safetensors; nothing is unpickled. What training needs to go on lies in `training/` and is its own affair.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from muse_shortcut.config import ModelConfig, SamplingConfig
from muse_shortcut.errors import ArgumentsError, CheckpointError
from muse_shortcut.files import hash_file, write_bytes, write_text
from muse_shortcut.model.core import Core
from muse_tokenizers.base import Tokenizer
from muse_tokenizers.errors import UnknownTokenizer
from muse_tokenizers.loading import load_tokenizer

__all__ = ["VERSION", "Checkpoint", "load_checkpoint", "read_tensors", "save_checkpoint"]

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained core and what belongs to it."""

    core: Core
    tokenizer: Tokenizer[Any]
    sampling: SamplingConfig = SamplingConfig()
    """What it is best sampled with."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What is known of its training: steps, tokens, validation, data, licence."""
    card: str = ""
    """Its model card."""
    digest: str = ""
    """SHA-256 of the weights' file it was read from."""


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint; the core is in float32, in evaluation mode, on `device`.

    Raises:
        CheckpointError: a file is missing or damaged, or the parts do not belong together.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint at {folder}: there is no such folder")
    config = _read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("version") != VERSION:
        raise CheckpointError(f"{folder / 'config.json'} is not a checkpoint's: it should say version {VERSION}")
    try:
        model = ModelConfig.from_json(config.get("model"))
        tokenizer = load_tokenizer(folder / "tokenizer")
    except (CheckpointError, UnknownTokenizer) as error:
        raise CheckpointError(f"checkpoint {folder}: {error}") from error
    if (model.vocabulary_size, model.streams) != (tokenizer.vocabulary_size, tokenizer.streams):
        raise CheckpointError(
            f"checkpoint {folder}: the model has {model.vocabulary_size} ids in {model.streams} streams, "
            f"its tokenizer {tokenizer.vocabulary_size} in {tokenizer.streams}"
        )
    weights = folder / "model.safetensors"
    core = Core(model)
    tensors = read_tensors(weights)
    if model.tied_embeddings:
        tensors |= {f"heads.{k}.weight": tensors[f"embeddings.{k}.weight"] for k in range(model.streams)}
    try:
        core.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not fit its config.json: {_first_problem(error)}") from error
    card = folder / "README.md"
    return Checkpoint(
        core=core.to(device).eval(),
        tokenizer=tokenizer,
        sampling=_read_sampling(folder / "generation.json"),
        facts=config.get("facts", {}),
        card=card.read_text(encoding="utf-8") if card.is_file() else "",
        digest=hash_file(weights),
    )


def save_checkpoint(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint into a folder that is there; the caller sees to it that the folder appears at once.

    Raises:
        OutputError: a file could not be written.
    """
    core = checkpoint.core
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in core.state_dict().items()}
    if core.config.tied_embeddings:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("heads.")}
    write_bytes(folder / "model.safetensors", save_tensors(state))
    content = {"version": VERSION, "model": core.config.to_json(), "facts": checkpoint.facts}
    write_text(folder / "config.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "generation.json", json.dumps(asdict(checkpoint.sampling), indent=2) + "\n")
    write_text(folder / "README.md", checkpoint.card)
    checkpoint.tokenizer.save(folder / "tokenizer")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: it is missing, truncated, or something else.
    """
    try:
        return load_tensors(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: it is not JSON") from error


def _read_sampling(path: Path) -> SamplingConfig:
    content = _read_json(path)
    known = {item.name for item in fields(SamplingConfig)}
    if not isinstance(content, dict) or not set(content) <= known:
        raise CheckpointError(f"{path} is damaged: its fields are {sorted(known)}")
    try:
        return SamplingConfig(**content)
    except (ArgumentsError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _first_problem(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1] if len(lines) > 1 else lines[0]
