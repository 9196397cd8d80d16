"""What a command line names as a checkpoint or a codec: its own folder, that of its run, or a model on a hub."""

from __future__ import annotations

import sys
from pathlib import Path

from muse_shortcut.errors import CheckpointError
from muse_shortcut.hub import is_on_hub
from muse_shortcut.runs import find_checkpoint

__all__ = ["checkpoint_folder", "codec_name", "require_codec"]


def checkpoint_folder(word: str) -> Path:
    """The folder of a checkpoint. Where a run is named, a line on standard error says which of its checkpoints it is.

    Raises:
        CheckpointError: the run has none.
    """
    named = Path(word).expanduser()
    folder = find_checkpoint(named)
    if folder != named and not is_on_hub(named):
        print(f"{word} is a run: taking its checkpoint {folder.name}", file=sys.stderr)
    return folder


def codec_name(word: str) -> str:
    """The name of a codec, or the folder of one, which may be that of a run of `muse-train codec`.

    Raises:
        CheckpointError: the run has no codec yet.
    """
    folder = checkpoint_folder(word)
    require_codec(folder)
    return word if folder == Path(word) else str(folder)


def require_codec(folder: Path) -> None:
    """Raises CheckpointError: it is the checkpoint of a codec's training that had not come to its codebooks."""
    if (folder / "training").is_dir() and not any((folder / name).exists() for name in ("codec.json", "config.json")):
        raise CheckpointError(
            f"{folder} has no codebooks yet: they begin after --train.quantise_after steps; "
            "muse-train codec --resume auto goes on to them"
        )
