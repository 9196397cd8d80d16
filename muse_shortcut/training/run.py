"""A run's folder: its checkpoints, which of them is the latest and which the best, and what training needs to go on.

run/  config.yaml  metrics.jsonl  samples/step-000500/  checkpoints/step-000500/  checkpoints/latest

What is there is found by looking (`muse_shortcut.runs`). Nothing is removed but the run's own older checkpoints.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save as save_tensors

from muse_shortcut.checkpoints import Checkpoint, read_tensors, save_checkpoint
from muse_shortcut.earlier_names import PROGRESS, current_names
from muse_shortcut.errors import ArgumentsError, CheckpointError, OutputError
from muse_shortcut.files import atomic_folder, clear_left_overs, make_folder, write_bytes, write_text
from muse_shortcut.runs import best_checkpoint, checkpoint_steps, newest_checkpoint, read_progress, write_checksums
from muse_shortcut.training.log import read_log
from muse_shortcut.training.optimiser import Optimiser
from muse_tokenizers.errors import Warn

__all__ = ["RunFolder", "TrainingProgress"]


@dataclass(kw_only=True)
class TrainingProgress:
    """How far a training has come; all of it is saved with every checkpoint."""

    step: int = 0
    best: float | None = None
    """The lowest validation so far, nats per token."""
    reference: float | None = None
    """The validation that the last gain led to; patience counts from there."""
    evaluations_without_improvement: int = 0
    """Evaluations since that gain."""
    tokens: int = 0
    """Seen in training."""
    seconds: float = 0.0
    """Spent in training."""
    decay_start: int | None = None
    """The step from which the learning rate falls, since there was no more gain; None where it does not, or by plan."""


class RunFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written or cleared before `claim`: whoever only reads a run must not disturb it."""
        self.folder = folder
        self.checkpoints = folder / "checkpoints"

    def claim(self, *, go_on: bool = True, first_save: int = 0) -> None:
        """Make the folder ready to be written to, and clear away what a kill left there.

        Args:
            go_on: a training that is there already may go on.
            first_save: the step at which a training has its first checkpoint at the latest; what is logged beyond it
                had one.

        Raises:
            ArgumentsError: a training is there and may not go on.
            CheckpointError: a training is there that has lost its checkpoints.
            OutputError: it cannot be made, or it has other things in it.
        """
        has_checkpoints, logged = any(self.checkpoints.glob("*step-*")), self.logged()
        has_samples = any((self.folder / "samples").glob("*"))
        if not go_on and (has_checkpoints or has_samples or logged is not None):
            raise ArgumentsError(f"{self.folder} has a training already: --resume auto goes on, or name another --out")
        if not has_checkpoints and (has_samples or (logged or 0) > first_save):
            what = "samples" if logged is None else f"a log up to step {logged:,}"
            raise CheckpointError(
                f"{self.folder} has {what} of a training and no checkpoint to go on from; name another --out, or put "
                f"its checkpoints back into {self.checkpoints}"
            )
        if not self.checkpoints.is_dir() and self.folder.is_dir() and any(self.folder.iterdir()):
            raise OutputError(f"{self.folder} has other files in it; a run wants a folder of its own")
        make_folder(self.checkpoints)
        for written_to in (self.folder, self.checkpoints):
            clear_left_overs(written_to)

    def logged(self) -> int | None:
        """The last step in the log; None where there is no log."""
        return max((step for step, _ in read_log(self.folder) if step is not None), default=None)

    def latest(self, warn: Warn = lambda _: None) -> Path | None:
        """The newest whole checkpoint, with a line to `warn` for each newer one; None for a new run.

        Raises:
            CheckpointError: there are checkpoints, and none is whole.
        """
        found, problems = newest_checkpoint(self.checkpoints)
        for problem in problems:
            warn(f"a newer checkpoint is passed over: {problem}")
        return found

    def best(self) -> Path | None:
        """The checkpoint with the lowest validation."""
        return best_checkpoint(self.checkpoints)

    def settle(self, newest: Path, *, keep: int) -> None:
        """Do what a kill after the writing of a checkpoint left undone: name it, and drop those no longer wanted."""
        step = int(newest.name.removeprefix("step-"))
        best = best_checkpoint(self.checkpoints, step)
        if best is not None:
            write_text(self.checkpoints / "best", best.name + "\n")
        write_text(self.checkpoints / "latest", newest.name + "\n")
        self._prune(step, keep)

    def save(
        self, checkpoint: Checkpoint, optimiser: Optimiser, progress: TrainingProgress, *, is_best: bool, keep: int
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
            write_checksums(temporary)
        # Whoever goes on finds it by looking, and after a kill between these names it then.
        if is_best:
            write_text(self.checkpoints / "best", folder.name + "\n")
        write_text(self.checkpoints / "latest", folder.name + "\n")
        self._prune(step, keep)
        return folder

    def _prune(self, newest: int, keep: int) -> None:
        steps = checkpoint_steps(self.checkpoints)
        best = best_checkpoint(self.checkpoints, newest)
        # Those above the newest are damaged, and not ours to remove: training comes to them again.
        ours = [step for step in steps if step <= newest]
        for step in ours[:-keep]:
            if steps[step] != best:
                shutil.rmtree(steps[step], ignore_errors=True)

    @staticmethod
    def restore(folder: Path, optimiser: Optimiser) -> TrainingProgress:
        """Put the optimiser back as it was at a checkpoint.

        Raises:
            CheckpointError: what training needs is missing or damaged.
        """
        state = folder / "training" / "optimiser.safetensors"
        optimiser.load(read_tensors(state), str(state))
        path = folder / "training" / "progress.json"
        try:
            progress = TrainingProgress(**current_names(read_progress(folder), PROGRESS))
        except TypeError as error:
            raise CheckpointError(f"{path} is damaged: {str(error).partition('() ')[2] or error}") from error
        _check(progress, path)
        return progress


def _check(progress: TrainingProgress, path: Path) -> None:
    for name, most in (
        ("evaluations_without_improvement", progress.step),
        ("tokens", 2**63),
        ("decay_start", progress.step),
    ):
        value = getattr(progress, name)
        if not (type(value) is int and 0 <= value <= most) and not (name == "decay_start" and value is None):
            raise CheckpointError(f"{path} is damaged: {name} is {value!r}; allowed: a whole number from 0 to {most:,}")
    if progress.seconds is None or progress.seconds < 0:
        raise CheckpointError(f"{path} is damaged: seconds is {progress.seconds}; allowed: 0 or more")
