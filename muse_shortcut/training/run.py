"""A run's folder: its checkpoints, which of them is the latest and which the best, and what training needs to go on.

run/  config.yaml  metrics.jsonl  samples/step-000500/  checkpoints/step-000500/  checkpoints/latest
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save as save_tensors

from muse_shortcut.checkpoints import Checkpoint, read_tensors, save_checkpoint
from muse_shortcut.errors import CheckpointError, OutputError
from muse_shortcut.files import atomic_folder, clear_left_overs, make_folder, write_bytes, write_text
from muse_shortcut.runs import named_checkpoint
from muse_shortcut.training.optimiser import Optimiser

__all__ = ["Progress", "RunFolder"]


@dataclass(kw_only=True)
class Progress:
    """How far a training has come; all of it is saved with every checkpoint."""

    step: int = 0
    best: float | None = None
    """The lowest validation so far, nats a token."""
    reference: float | None = None
    """The validation that the last gain led to; patience counts from there."""
    stale: int = 0
    """Evaluations since that gain."""
    tokens: int = 0
    """Seen in training."""
    seconds: float = 0.0
    """Spent in training."""
    falling_from: int | None = None
    """The step from which the learning rate falls, since there was no more gain; None where it does not, or by plan."""


class RunFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written or cleared before `claim`: whoever only reads a run must not disturb it."""
        self.folder = folder
        self.checkpoints = folder / "checkpoints"

    def has_checkpoints(self) -> bool:
        """Whether there has been a training."""
        return any(self.checkpoints.glob("*step-*"))

    def claim(self) -> None:
        """Make the folder ready to be written to, and clear away what a kill left there.

        Raises:
            OutputError: it cannot be made, or it has other things in it.
        """
        if not self.checkpoints.is_dir() and self.folder.is_dir() and any(self.folder.iterdir()):
            raise OutputError(f"{self.folder} has other files in it; a run wants a folder of its own")
        make_folder(self.checkpoints)
        for written_to in (self.folder, self.checkpoints):
            clear_left_overs(written_to)

    def latest(self) -> Path | None:
        """The newest whole checkpoint; None for a new run."""
        return named_checkpoint(self.checkpoints, "latest")

    def best(self) -> Path | None:
        """The checkpoint with the lowest validation."""
        return named_checkpoint(self.checkpoints, "best")

    def save(
        self, checkpoint: Checkpoint, optimiser: Optimiser, progress: Progress, *, is_best: bool, keep: int
    ) -> Path:
        """Write a checkpoint as `save_with` does."""

        def write(folder: Path) -> None:
            save_checkpoint(checkpoint, folder)
            make_folder(folder / "training")
            write_bytes(folder / "training" / "optimiser.safetensors", save_tensors(optimiser.tensors()))
            write_text(folder / "training" / "progress.json", json.dumps(asdict(progress), indent=2) + "\n")

        return self.save_with(write, progress.step, is_best=is_best, keep=keep)

    def save_with(self, write: Callable[[Path], None], step: int, *, is_best: bool, keep: int) -> Path:
        """Write a checkpoint that appears whole or not at all, and drop those no longer wanted.

        Args:
            write: writes it into a folder.
            step: after which it is.
            is_best: of all so far.
            keep: how many of the newest are wanted, the best one besides.

        Raises:
            OutputError: it could not be written; the ones before it are untouched.
        """
        folder = self.checkpoints / f"step-{step:06d}"
        with atomic_folder(folder) as temporary:
            write(temporary)
        # `latest` comes last: a training that goes on from the one before judges and names this one once more.
        if is_best:
            write_text(self.checkpoints / "best", folder.name + "\n")
        write_text(self.checkpoints / "latest", folder.name + "\n")
        self._prune(step, keep)
        return folder

    def _prune(self, newest: int, keep: int) -> None:
        steps = {
            int(folder.name[5:]): folder for folder in self.checkpoints.glob("step-*") if folder.name[5:].isdigit()
        }
        # One above the newest was made before a kill, and never named.
        kept = {*sorted(step for step in steps if step <= newest)[-keep:]}
        best = self.best()
        for step, folder in steps.items():
            if step not in kept and folder != best:
                shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def restore(folder: Path, optimiser: Optimiser) -> Progress:
        """Put the optimiser back as it was at a checkpoint.

        Raises:
            CheckpointError: what training needs is missing or damaged.
        """
        state = folder / "training" / "optimiser.safetensors"
        optimiser.load(read_tensors(state), str(state))
        path = folder / "training" / "progress.json"
        try:
            return _checked(Progress(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path} is missing or damaged") from error


def _checked(progress: Progress) -> Progress:
    counts = (progress.step, progress.stale, progress.tokens)
    numbers = (progress.best or 0.0, progress.reference or 0.0, progress.seconds)
    if progress.falling_from is not None and type(progress.falling_from) is not int:
        raise ValueError(progress.falling_from)
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(counts)
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError(numbers)
    return progress
