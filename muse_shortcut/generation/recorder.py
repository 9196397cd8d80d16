"""Keeping a trace while candidates grow: from the step's own weights and chances, never by running again."""

from __future__ import annotations

import io
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from muse_shortcut.errors import OutputError
from muse_shortcut.generation.trace import ALTERNATIVES, Trace, save_trace
from muse_tokenizers.base import Ids

__all__ = ["Recorder", "step_chances"]

_PENDING = 64
"""Steps that are put aside before they are worked out together."""

_IN_MEMORY = 64 * 2**20
"""Bytes of rows that are kept in memory; what goes beyond goes to a temporary file."""


def step_chances(
    log_probabilities: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Of (..., V) nats: the entropy (...), the five likeliest ids (..., 5), likeliest first, and theirs (..., 5)."""
    below = -log_probabilities.astype(np.float32)
    # An id that is not allowed has chance 0 and adds nothing.
    entropy = np.sum(np.exp(-below) * np.where(np.isinf(below), 0.0, below), axis=-1)
    most = min(ALTERNATIVES, below.shape[-1])
    # The smallest first: selecting at the other end is ten times slower where most ids are not allowed.
    best = np.argpartition(below, most - 1, axis=-1)[..., :most]
    _prefer_lower_ids(below, best)
    values = -np.take_along_axis(below, best, -1)
    order = np.lexsort((best, -values), axis=-1)
    best, values = np.take_along_axis(best, order, -1), np.take_along_axis(values, order, -1)
    ids = np.full((*best.shape[:-1], ALTERNATIVES), -1, dtype=np.int32)
    nats = np.full(ids.shape, -np.inf, dtype=np.float32)
    ids[..., :most] = np.where(np.isfinite(values), best, -1)
    nats[..., :most] = values
    return entropy.astype(np.float32), ids, nats


def _prefer_lower_ids(below: NDArray[np.float32], best: NDArray[np.int64]) -> None:
    """Of ids that are as likely as the least of the best, put those with the lowest numbers among them.

    Which ones a partition leaves there is its own affair, and may differ between machines.
    """
    worst = np.take_along_axis(below, best, -1).max(-1, keepdims=True)
    tied = (below == worst) & np.isfinite(worst)
    for place in np.argwhere(tied.sum(-1) > (np.take_along_axis(below, best, -1) == worst).sum(-1)):
        at = tuple(place)
        equal = below[at][best[at]] == worst[at]
        best[at] = np.concatenate([best[at][~equal], np.flatnonzero(tied[at])[: equal.sum()]])


class Recorder:
    """The traces of C candidates, one step after another.

    A step only puts aside what it has; what that comes to is worked out many steps at a time, or keeping a trace would
    take a twelfth of the time instead of a fiftieth.
    """

    def __init__(self, candidates: int, depths: tuple[int, ...]) -> None:
        """
        Args:
            candidates: C.
            depths: (n,), those the last layer attends to.
        """
        self._candidates, self._depths = candidates, depths
        self._log_probability: list[NDArray[np.float64]] = []
        self._chances: list[tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]] = []
        self._shares: list[NDArray[np.float32]] = []
        self._first: list[int] = []
        self._seen: list[int] = []
        self._pending: list[tuple[NDArray[np.float16], NDArray[np.float64]]] = []
        self._rows: IO[bytes] = io.BytesIO()
        self._starts: list[int] = [0]

    def add(
        self,
        first: int,
        weights: torch.Tensor,
        log_probability: NDArray[np.float64],
        log_probabilities: NDArray[np.float64],
    ) -> None:
        """Keep one step.

        Args:
            first: the first position in sight.
            weights: (C, H, n, T) of the last layer over the last T positions, which sum to 1 over (n, T).
            log_probability: (C, K) nats, of the ids that were drawn.
            log_probabilities: (C, K, V) nats, of all ids.

        Raises:
            OutputError: the temporary folder is full; the step has not been kept.
        """
        if len(self._pending) == _PENDING:
            self._settle()
        rows = weights.mean(1).to(torch.float16).cpu().numpy()
        self._pending.append((rows, log_probabilities))
        self._starts.append(self._starts[-1] + rows.nbytes)
        self._first.append(first)
        self._seen.append(rows.shape[-1])
        self._shares.append(weights.sum(-1).transpose(1, 2).float().cpu().numpy())
        self._log_probability.append(log_probability)

    def _settle(self) -> None:
        """Write the rows that were put aside, and work out the chances."""
        if not self._pending:
            return
        rows, log_probabilities = zip(*self._pending, strict=True)
        written = len(self._starts) - 1 - len(rows)
        content = b"".join(row.astype("<f2", copy=False).tobytes() for row in rows)
        try:
            if isinstance(self._rows, io.BytesIO) and self._starts[written] + len(content) > _IN_MEMORY:
                self._move_to_disk()
            self._rows.seek(self._starts[written])
            self._rows.write(content)
            self._rows.flush()
        except OSError as error:
            raise OutputError(
                f"cannot keep the trace in the temporary folder (TMPDIR names another): {error.strerror}"
            ) from error
        self._chances += zip(*step_chances(np.stack(log_probabilities)), strict=True)
        self._pending.clear()

    def _move_to_disk(self) -> None:
        """What is in memory stays until all of it is on disk."""
        file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this)
        weakref.finalize(self, file.close)
        file.write(cast(io.BytesIO, self._rows).getbuffer())
        file.flush()
        self._rows = file

    @property
    def nbytes(self) -> int:
        """Bytes of rows kept so far, in memory or on disk."""
        return self._starts[-1]

    def shares(self, candidate: int, since: int) -> NDArray[np.float32]:
        """(S, n, H): one candidate's depth shares, of the steps from `since` on."""
        kept = self._shares[since:]
        return np.stack([step[candidate] for step in kept]) if kept else np.zeros((0, len(self._depths), 1), np.float32)

    def row(self, candidate: int, step: int) -> NDArray[np.float16]:
        """(n, T): one candidate's row of one step."""
        self._settle()
        size = len(self._depths) * self._seen[step]
        self._rows.seek(self._starts[step] + 2 * candidate * size)
        row = np.frombuffer(self._rows.read(2 * size), dtype="<f2")
        return row.reshape(len(self._depths), self._seen[step])

    def trace(self, candidate: int, prompt: Ids, ids: Ids) -> Trace:
        """The trace of one candidate, its rows in memory.

        Args:
            prompt: (P, K).
            ids: (S, K), its continuation; steps beyond it are left out.
        """
        bare = self._bare(candidate, prompt, ids)
        rows = [self.row(candidate, step).ravel() for step in range(len(ids))]
        return Trace(**{**vars(bare), "attention": np.concatenate([np.zeros(0, np.float16), *rows])})

    def save(self, candidate: int, prompt: Ids, ids: Ids, path: Path) -> None:
        """Write the trace of one candidate without ever holding its rows together. Raises OutputError."""
        save_trace(
            self._bare(candidate, prompt, ids), path, rows=(self.row(candidate, step) for step in range(len(ids)))
        )

    def _bare(self, candidate: int, prompt: Ids, ids: Ids) -> Trace:
        self._settle()
        steps = len(ids)

        def of_candidate(columns: Sequence[NDArray[Any]], *shape: int) -> NDArray[np.float32]:
            if not columns:
                return np.zeros((0, *shape), np.float32)
            return np.stack([column[candidate] for column in columns]).astype(np.float32)

        streams = ids.shape[-1]
        entropy, likeliest, nats = zip(*self._chances[:steps], strict=True) if steps else ((), (), ())
        return Trace(
            ids=np.concatenate([prompt, ids]),
            depths=np.array(self._depths, dtype=np.int64),
            log_probability=of_candidate(self._log_probability[:steps], streams),
            entropy=of_candidate(entropy, streams),
            alternatives=of_candidate(likeliest, streams, ALTERNATIVES).astype(np.int32),
            alternative_log_probability=of_candidate(nats, streams, ALTERNATIVES),
            depth_share=of_candidate(self._shares[:steps], len(self._depths), 1),
            first=np.array(self._first[:steps], dtype=np.int64),
            offsets=np.cumsum([0, *(len(self._depths) * seen for seen in self._seen[:steps])], dtype=np.int64),
            attention=np.zeros(0, dtype=np.float16),
        )
