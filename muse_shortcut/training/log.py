"""The log of a run: metrics.jsonl with one line per step, and TensorBoard event files."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from muse_shortcut.errors import OutputError
from muse_shortcut.files import write_text

__all__ = ["MetricsLog", "read_log"]


_LOG, _SUPERSEDED = "metrics.jsonl", "metrics.superseded.jsonl"


def read_log(run: Path) -> list[tuple[int | None, str]]:
    """Read the lines of a run's log with their steps; the step of a damaged line is None.

    Raises:
        OutputError: The log cannot be read, so the run cannot be resumed.
    """
    path = run / _LOG
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error
    return [(_step(line), line) for line in text.split("\n") if line]


def _step(line: str) -> int | None:
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if type(step) is int and step >= 0 else None


class MetricsLog:
    """Appends one line per step. After a kill it continues behind the checkpoint; lines of steps that are repeated, and
    damaged ones, are moved to `metrics.superseded.jsonl`."""

    def __init__(self, run: Path, last_step: int, tensorboard: bool) -> None:
        """
        Args:
            run: The run folder.
            last_step: Step of the checkpoint from which training resumes; -1 for a new run.
            tensorboard: Whether to write TensorBoard event files too.
        """
        self._path = run / _LOG
        lines = read_log(run)
        kept = [line for step, line in lines if step is not None and step <= last_step]
        superseded = [line for step, line in lines if step is None or step > last_step]
        try:
            if superseded:
                with (run / _SUPERSEDED).open("a", encoding="utf-8") as file:
                    file.writelines(line + "\n" for line in superseded)
            write_text(self._path, "".join(line + "\n" for line in kept))
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard.writer import SummaryWriter

            try:
                self._board = SummaryWriter(str(run / "tensorboard"), purge_step=last_step + 1)
            except OSError as error:
                raise OutputError(f"cannot write {run / 'tensorboard'}: {error.strerror}") from error

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append one step.

        Raises:
            OutputError: The file could not be written, for example because the disk is full.
        """
        try:
            self._file.write(json.dumps({"step": step} | values) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
        if self._board is not None:
            try:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)
            except OSError as error:
                raise OutputError(f"cannot write {self._path.parent / 'tensorboard'}: {error.strerror}") from error

    def close(self) -> None:
        # Every complete line has been flushed; the rest is one that `write` failed to write, and has reported.
        with suppress(OSError):
            self._file.close()
        # TensorBoard writes in its own thread, which reports a full disk late; its files are optional.
        with suppress(OSError):
            if self._board is not None:
                self._board.close()
