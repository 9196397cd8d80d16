"""The record of a run: metrics.jsonl, one line a step, and TensorBoard's files beside it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from muse_shortcut.errors import OutputError
from muse_shortcut.files import write_text

__all__ = ["MetricsLog"]


class MetricsLog:
    """Appends a line a step; opened again after a kill it forgets what came after the checkpoint."""

    def __init__(self, run: Path, last_step: int, tensorboard: bool) -> None:
        """
        Args:
            run: the run's folder.
            last_step: the step of the checkpoint that training goes on from; -1 for a new run.
            tensorboard: write TensorBoard's files too.
        """
        self._path = run / "metrics.jsonl"
        write_text(self._path, "".join(line + "\n" for line in self._lines_up_to(last_step)))
        self._file = self._path.open("a", encoding="utf-8")
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard.writer import SummaryWriter

            try:
                self._board = SummaryWriter(str(run / "tensorboard"), purge_step=last_step + 1)
            except OSError as error:
                raise OutputError(f"cannot write {run / 'tensorboard'}: {error.strerror}") from error

    def _lines_up_to(self, step: int) -> list[str]:
        kept = []
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
                try:
                    if json.loads(line)["step"] > step:
                        break
                except (ValueError, KeyError, TypeError):
                    break
                kept.append(line)
        return kept

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append one step.

        Raises:
            OutputError: the disk is full, say.
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
        # Every line has been flushed: what is left is one that `write` failed to write, and that it has said.
        with suppress(OSError):
            self._file.close()
        # TensorBoard writes in a thread of its own, which says late that there is no room; its files are an extra.
        with suppress(OSError):
            if self._board is not None:
                self._board.close()
