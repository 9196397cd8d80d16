"""Finds what continuations share with training pieces, in notes, frames or characters, in the unit of the domain, and
in bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.data.store import Store
from muse_shortcut.evaluation.by_source import read_ids
from muse_shortcut.evaluation.continuations import Outcome
from muse_shortcut.evaluation.suffix_array import CommonRun, CopyIndex
from muse_tokenizers.domain import Domain
from muse_tokenizers.measures import CopyThreshold, CopyUnits

__all__ = ["CopyFound", "CopySummary", "TrainingPieces", "find_copies", "summarise_copies"]

_LONGER = 10.0
"""Block length of a long piece in seconds, or bytes."""
_BLOCK = 2**22
"""Numbers that are indexed per block, which takes about 300 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyFound:
    """The longest run that a continuation shares with a training piece."""

    count: int
    """Length in notes, frames or characters, including the one that the run starts from."""
    length: float
    """Length from the onset of the first to that of the last, in the unit of the domain."""
    bars: float | None
    """The same length in bars; None in a domain without bars, or if nothing is shared."""
    piece: str | None
    """Name of the training piece; None if nothing is shared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopySummary:
    """Statistics of the runs of many continuations: median, 90th percentile and maximum."""

    windows: int
    """Number of continuations that could be looked up."""
    count: tuple[float, float, float]
    length: tuple[float, float, float]
    bars: tuple[float, float, float] | None
    passing: float | None
    """Fraction of them that exceed the domain's copy threshold; None if it is in bars and there are none."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class TrainingPieces:
    """All pieces of the training split, to search for copies. They are read block by block: an index of all of them
    would take a hundred times their size."""

    def __init__(self, store: Store, domain: Domain[Any]) -> None:
        self._store, self._domain = store, domain
        self._numbers = [number for number, piece in enumerate(store.pieces) if piece.split == "train"]
        self.searched = 0
        """Unit in which runs are counted, known after the first piece."""

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self._numbers)

    def find(
        self, copy_units_list: Sequence[CopyUnits], watch: Callable[[int], None] = lambda _: None
    ) -> list[CopyFound | None]:
        """Find the longest run of each segment; None for a segment with nothing to look up, such as drums alone.
        `watch` is called with the number of pieces that have been read."""
        queries = [copy_units.numbers for copy_units in copy_units_list]
        best: list[tuple[CommonRun, int]] = [(CommonRun(0), -1)] * len(queries)
        self.searched = 0
        for pieces, sequences in self._blocks(watch):
            for place, run in enumerate(CopyIndex(sequences).longest(queries)):
                if run.length > best[place][0].length:
                    best[place] = run, pieces[run.sequence]
        return [
            self._measure(run, piece, copy_units) if len(copy_units.numbers) else None
            for (run, piece), copy_units in zip(best, copy_units_list, strict=True)
        ]

    def _blocks(self, watch: Callable[[int], None]) -> Iterator[tuple[list[int], list[NDArray[np.int64]]]]:
        pieces, sequences, size = list[int](), list[NDArray[np.int64]](), 0
        for done, number in enumerate(self._numbers):
            # A decoded piece may be slightly longer than its file.
            end = self._store.pieces[number].length + _LONGER
            numbers = self._domain.copy_units(read_ids(self._store, number), 0.0, end).numbers
            pieces.append(number)
            sequences.append(numbers)
            size += len(numbers)
            self.searched += len(numbers)
            watch(done + 1)
            if size >= _BLOCK:
                yield pieces, sequences
                pieces, sequences, size = [], [], 0
        if pieces:
            yield pieces, sequences

    def _measure(self, run: CommonRun, number: int, copy_units: CopyUnits) -> CopyFound:
        if not run.length:
            return CopyFound(count=0, length=0.0, bars=None, piece=None)
        # Each number encodes the interval from the previous note, so the note before the first number belongs to the
        # run.
        first, last = max(run.start - 1, 0), run.start + run.length - 1
        length, bars = (copy_units.places[last] - copy_units.places[first]).tolist()
        return CopyFound(
            count=last - first + 1,
            length=length,
            bars=None if np.isnan(bars) else bars,
            piece=self._store.pieces[number].name,
        )


def find_copies(
    training: TrainingPieces, outcomes: Sequence[Outcome], watch: Callable[[int], None] = lambda _: None
) -> tuple[list[CopyFound | None], list[CopyFound | None]]:
    """Find the longest runs in the model's continuations, and in the true ones."""
    copy_units_list = [outcome.model_units for outcome in outcomes] + [outcome.true_units for outcome in outcomes]
    found = training.find(copy_units_list, watch)
    return found[: len(outcomes)], found[len(outcomes) :]


def summarise_copies(found: Sequence[CopyFound | None], copy_threshold: CopyThreshold) -> CopySummary | None:
    """Summarise the continuations that could be looked up; None if there are none.

    Args:
        found: The longest runs.
        copy_threshold: What a run must exceed to count as a copy (`Domain.copy_threshold`).
    """
    copies = [copy for copy in found if copy is not None]
    if not copies:
        return None
    bars = [copy.bars for copy in copies if copy.bars is not None]
    measure, least = copy_threshold
    passing = [getattr(copy, measure) or 0.0 for copy in copies]
    has_none = measure == "bars" and not bars and any(copy.count for copy in copies)
    return CopySummary(
        windows=len(copies),
        count=_spread([copy.count for copy in copies]),
        length=_spread([copy.length for copy in copies]),
        bars=_spread(bars) if bars else None,
        passing=None if has_none else float(np.mean(np.array(passing) > least)),
    )


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    middle, high, most = np.quantile(np.array(values, dtype=np.float64), (0.5, 0.9, 1.0)).tolist()
    return middle, high, most
