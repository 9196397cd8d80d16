"""Resolves the names of checkpoints and codecs on the command line: a folder, a run, or a model on a hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from muse_shortcut.errors import CheckpointError
from muse_shortcut.hub import is_on_hub
from muse_shortcut.runs import POINTERS, find_checkpoint, is_unevaluated, unimproved_steps
from muse_shortcut.shipped import is_shipped, named_checkpoint

if TYPE_CHECKING:
    from muse_shortcut.commands.command_line import Terminal

__all__ = ["checkpoint_folder", "codec_name", "describe_unimproved", "require_codec"]


def checkpoint_folder(word: str, terminal: Terminal) -> Path:
    """Resolve the name of a checkpoint to its folder. For a run, a line says which checkpoint is used, and whether
    training has changed its weights.

    Raises:
        CheckpointError: The run has no checkpoint.
    """
    named = named_checkpoint(word)
    folder = find_checkpoint(named)
    if is_shipped(word) and any(Path(word, name).exists() for name in ("config.json", "checkpoints")):
        terminal.inform(f"{word} is the shipped model; ./{word} names the folder")
    if folder != named and not is_on_hub(named):
        how = f"{word} is" if named.name in POINTERS else f"{word} is a run: using its checkpoint"
        unimproved = describe_unimproved(folder)
        terminal.inform(f"{how} {folder.name}" + (f", {unimproved}" if unimproved else ""))
    return folder


def describe_unimproved(folder: Path) -> str:
    """Return the end of a message about a checkpoint of step 0 that is the best one of a longer run; empty for others.

    >>> describe_unimproved(Path("anywhere/else"))
    ''
    """
    unevaluated = is_unevaluated(folder)
    if not unevaluated and not unimproved_steps(folder):
        return ""
    try:
        parent = json.loads((folder / "config.json").read_text(encoding="utf-8"))["facts"].get("parent")
        weights = "untrained weights" if parent is None else f"the weights of its parent {parent['name']}, unchanged"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # A codec, or a checkpoint whose damage is reported where it is loaded.
        return ""
    why = (
        "the training was stopped before its first evaluation"
        if unevaluated
        else "no evaluation after step 0 improved the validation"
    )
    return f"which has {weights}: {why}; the last step is {folder.parent / 'latest'}"


def codec_name(word: str, terminal: Terminal) -> str:
    """Resolve the name or the folder of a codec, which may be a run of `muse-train codec`.

    Raises:
        CheckpointError: The run has no codec yet.
    """
    folder = checkpoint_folder(word, terminal)
    require_codec(folder)
    return word if folder == Path(word) else str(folder)


def require_codec(folder: Path) -> None:
    """Raise CheckpointError if a checkpoint comes from before the codebooks were fitted."""
    if (folder / "training").is_dir() and not any((folder / name).exists() for name in ("codec.json", "config.json")):
        raise CheckpointError(
            f"{folder} has no codebooks yet: they are learned after --train.quantise_after steps; resume the training "
            "with muse-train codec --resume auto"
        )
