"""Where a run keeps its checkpoints, and which of them is meant where only the run is named. Free of torch.

Does not know how a run is written: that is `muse_shortcut.training.run`'s affair.
"""

from __future__ import annotations

from pathlib import Path

from muse_shortcut.errors import CheckpointError

__all__ = ["find_checkpoint", "named_checkpoint"]


def find_checkpoint(folder: Path) -> Path:
    """The checkpoint that a folder stands for: a run's best one, else its latest; any other folder is itself.

    Raises:
        CheckpointError: the run has no checkpoint yet, or names one that is not there.
    """
    for checkpoints in (folder / "checkpoints", folder):
        if checkpoints.is_dir() and (checkpoints != folder or (folder / "latest").is_file()):
            found = named_checkpoint(checkpoints, "best") or named_checkpoint(checkpoints, "latest")
            if found is None:
                raise CheckpointError(f"the run {folder} has no checkpoint yet")
            return found
    return folder


def named_checkpoint(checkpoints: Path, pointer: str) -> Path | None:
    """The checkpoint that `latest` or `best` names; None where there is no such file.

    Raises:
        CheckpointError: it names something else than a checkpoint beside it.
    """
    path = checkpoints / pointer
    if not path.is_file():
        return None
    name = path.read_text(encoding="utf-8", errors="replace").strip()
    folder = checkpoints / name
    if folder.parent != checkpoints or not name.startswith("step-") or not folder.is_dir():
        raise CheckpointError(f"{path} names {name!r}, which is not a checkpoint beside it")
    return folder
