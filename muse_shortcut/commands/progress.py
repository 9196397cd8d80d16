"""Progress display: bars with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from muse_shortcut.data.store import Store

__all__ = ["ProgressBar", "check_ids", "duration"]

_PLAIN_SECONDS = 10.0
"""Seconds between plain lines if there is no terminal."""


class ProgressBar:
    """The progress of one task, shown on standard error."""

    def __init__(self, label: str, total: float | None, *, quiet: bool = False) -> None:
        """
        Args:
            label: Name of the task.
            total: Total amount of work; None if it is unknown.
            quiet: Show nothing.
        """
        self._label, self._total, self._quiet = label, total, quiet
        self._console = Console(stderr=True)
        self._rich: Progress | None = None
        self._task: TaskID | None = None
        self._last = time.monotonic()
        self._first: tuple[float, float] | None = None
        """Time and position of the first step that was shown, because work may resume from any position."""

    def __enter__(self) -> ProgressBar:
        if sys.stderr.isatty() and not self._quiet:
            self._rich = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._rich.start()
            self._task = self._rich.add_task(self._label, total=self._total, note="")
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._rich is not None:
            self._rich.stop()

    def show(self, done: float, note: str = "", *, line: bool = False) -> None:
        """Show the progress. `line` prints the note as a separate line, on any terminal."""
        if self._quiet:
            return
        if self._rich is not None and self._task is not None:
            if line:
                self._rich.console.print(note, highlight=False)
            self._rich.update(self._task, completed=done, note="" if line else note)
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        if line or now - self._last >= _PLAIN_SECONDS:
            self._last = now
            total = "" if self._total is None else f"/{self._total:g}"
            message = note if line else f"{self._label} {done:g}{total} {note}".rstrip()
            print(f"{message}{self._left(now, done)}", file=sys.stderr, flush=True)

    def _left(self, now: float, done: float) -> str:
        """Return the time left at the rate so far; empty if it is not known."""
        if self._total is None or self._first is None or done >= self._total or done <= self._first[1]:
            return ""
        return f", about {duration((now - self._first[0]) / (done - self._first[1]) * (self._total - done))} left"


def duration(seconds: float) -> str:
    """Format a duration: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def check_ids(store: Store, vocabulary_size: int, *, quiet: bool = False) -> None:
    """Run `Store.check_ids` with a progress bar. Raises StoreError."""
    with ProgressBar("checking the store", store.tokens.nbytes / 2**20, quiet=quiet) as bar:
        store.check_ids(vocabulary_size, lambda done: bar.show(done / 2**20, "MiB"))
