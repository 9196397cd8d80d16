"""Run folders: writes checkpoints, and keeps the latest and the best one and the state from which training resumes.

run/  config.yaml  metrics.jsonl  samples/step-000500/  checkpoints/step-000500/  checkpoints/latest

`muse_shortcut.runs` finds what exists. Nothing is removed except the run's own older checkpoints.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    """Progress of a training, saved with every checkpoint."""

    step: int = 0
    best: float | None = None
    """Lowest validation loss so far, in nats per token."""
    reference: float | None = None
    """Validation loss at the last improvement, from which patience counts."""
    evaluations_without_improvement: int = 0
    """Number of evaluations since that improvement."""
    tokens: int = 0
    """Number of tokens seen in training."""
    seconds: float = 0.0
    """Seconds spent in training."""
    decay_start: int | None = None
    """Step from which the learning rate decays because patience ran out; None if it does not, or only by the
    schedule."""


class RunFolder:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written or removed before `claim`: reading a run must not disturb it."""
        self.folder = folder
        self.checkpoints = folder / "checkpoints"

    def claim(self, *, go_on: bool = True, first_save: int = 0) -> None:
        """Lock the folder for writing, and remove what a kill left there.

        Args:
            go_on: Whether an existing training may resume.
            first_save: Step of the first checkpoint of a training at the latest; a log that goes beyond it had a
                checkpoint.

        Raises:
            ArgumentsError: There is a training, which may not resume.
            CheckpointError: There is a training whose checkpoints are lost.
            OutputError: The folder cannot be created, or contains something else.
        """
        has_checkpoints, logged = any(self.checkpoints.glob("*step-*")), self.logged()
        has_samples = any((self.folder / "samples").glob("*"))
        if not go_on and (has_checkpoints or has_samples or logged is not None):
            raise ArgumentsError(
                f"{self.folder} has a training already; resume it with {{resume=True}}, or choose another {{out}}",
                options=("resume", "out"),
            )
        if not has_checkpoints and (has_samples or (logged or 0) > first_save):
            what = "samples" if logged is None else f"a log up to step {logged:,}"
            raise CheckpointError(
                f"{self.folder} has {what} of a training and no checkpoint to resume from; choose another {{out}}, or "
                f"put its checkpoints back into {self.checkpoints}",
                options=("out",),
            )
        if not self.checkpoints.is_dir() and self.folder.is_dir() and any(self.folder.iterdir()):
            raise OutputError(f"{self.folder} has other files in it; a run needs a folder of its own")
        make_folder(self.checkpoints)
        for written_to in (self.folder, self.checkpoints):
            clear_left_overs(written_to)

    @contextmanager
    def claimed(self, *, go_on: bool = True, first_save: int = 0) -> Iterator[None]:
        """Claim the folder for a training that is being set up: if that fails, the folders that were created for it are
        removed, unless something has been written to them. Arguments and errors are those of `claim`."""
        created = [path for path in (self.checkpoints, *self.checkpoints.parents) if not path.exists()]
        self.claim(go_on=go_on, first_save=first_save)
        try:
            yield
        except BaseException:
            with suppress(OSError):
                # What else is there, such as the sounds of a codec, is found again in a folder with checkpoints only.
                for path in created if [*self.folder.iterdir()] == [self.checkpoints] else ():
                    path.rmdir()
            raise

    def logged(self) -> int | None:
        """Return the last step in the log; None if there is no log."""
        return max((step for step, _ in read_log(self.folder) if step is not None), default=None)

    def latest(self, warn: Warn = lambda _: None) -> Path | None:
        """Return the newest complete checkpoint, and report each newer one to `warn`; None for a new run.

        Raises:
            CheckpointError: There are checkpoints, but none is complete.
        """
        found, problems = newest_checkpoint(self.checkpoints)
        for problem in problems:
            warn(f"skipping a newer checkpoint: {problem}")
        return found

    def best(self) -> Path | None:
        """Return the checkpoint with the lowest validation loss."""
        return best_checkpoint(self.checkpoints)

    def finish_save(self, newest: Path, *, keep: int) -> None:
        """Finish what a kill after writing a checkpoint left undone: update the pointers and delete old checkpoints."""
        step = int(newest.name.removeprefix("step-"))
        best = best_checkpoint(self.checkpoints, step)
        if best is not None:
            write_text(self.checkpoints / "best", best.name + "\n")
        write_text(self.checkpoints / "latest", newest.name + "\n")
        self._prune(step, keep)

    def save(
        self, checkpoint: Checkpoint, optimiser: Optimiser, progress: TrainingProgress, *, is_best: bool, keep: int
    ) -> Path:
        """Write a checkpoint with its training state; see `save_with`."""

        def write(folder: Path) -> None:
            save_checkpoint(checkpoint, folder)
            make_folder(folder / "training")
            write_bytes(folder / "training" / "optimiser.safetensors", save_tensors(optimiser.tensors()))
            write_text(folder / "training" / "progress.json", json.dumps(asdict(progress), indent=2) + "\n")

        return self.save_with(write, progress.step, is_best=is_best, keep=keep)

    def save_with(self, write: Callable[[Path], None], step: int, *, is_best: bool, keep: int) -> Path:
        """Write a checkpoint atomically, and delete old ones.

        Args:
            write: Writes the checkpoint into a folder.
            step: Step of the checkpoint.
            is_best: Whether it is the best so far.
            keep: Number of most recent checkpoints to keep, besides the best one.

        Raises:
            OutputError: The checkpoint could not be written; earlier ones are unchanged.
        """
        folder = self.checkpoints / f"step-{step:06d}"
        with atomic_folder(folder) as temporary:
            write(temporary)
            write_checksums(temporary)
        # Resuming finds it by scanning the folder; the pointers are updated then if a kill came before this.
        if is_best:
            write_text(self.checkpoints / "best", folder.name + "\n")
        write_text(self.checkpoints / "latest", folder.name + "\n")
        self._prune(step, keep)
        return folder

    def _prune(self, newest: int, keep: int) -> None:
        steps = checkpoint_steps(self.checkpoints)
        best = best_checkpoint(self.checkpoints, newest)
        # Checkpoints after the newest complete one are damaged; training will reach their steps again and replace them.
        ours = [step for step in steps if step <= newest]
        for step in ours[:-keep]:
            if steps[step] != best:
                shutil.rmtree(steps[step], ignore_errors=True)

    @staticmethod
    def restore(folder: Path, optimiser: Optimiser) -> TrainingProgress:
        """Restore the optimiser and the progress from a checkpoint.

        Raises:
            CheckpointError: The training state is missing or damaged.
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
