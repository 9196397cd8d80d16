"""Records traces during generation, from the weights and probabilities of the steps themselves."""

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
"""Number of steps that are processed together."""

_IN_MEMORY = 64 * 2**20
"""Largest size of the rows in memory in bytes; beyond it they go to a temporary file."""


def step_chances(
    log_probabilities: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Return the entropy (...), the five likeliest ids (..., 5) in descending order, and their log-probabilities (...,
    5), from log-probabilities (..., V) in nats."""
    below = -log_probabilities.astype(np.float32)
    # An id that is not allowed has probability 0 and contributes nothing.
    entropy = np.sum(np.exp(-below) * np.where(np.isinf(below), 0.0, below), axis=-1)
    most = min(ALTERNATIVES, below.shape[-1])
    # Partition from the smallest: from the other end it is ten times slower if most ids are not allowed.
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
    """Break ties at the fifth place in favour of lower ids.

    Which tied ids a partition chooses is not specified, and may differ between machines.
    """
    worst = np.take_along_axis(below, best, -1).max(-1, keepdims=True)
    tied = (below == worst) & np.isfinite(worst)
    for place in np.argwhere(tied.sum(-1) > (np.take_along_axis(below, best, -1) == worst).sum(-1)):
        at = tuple(place)
        equal = below[at][best[at]] == worst[at]
        best[at] = np.concatenate([best[at][~equal], np.flatnonzero(tied[at])[: equal.sum()]])


class Recorder:
    """The traces of C candidates, one step after another.

    Steps are only buffered, and processed many at a time: otherwise recording would take a twelfth of the time instead
    of a fiftieth.
    """

    def __init__(self, candidates: int, depths: tuple[int, ...]) -> None:
        """
        Args:
            candidates: Number of candidates C.
            depths: (n,) depths that the last layer attends to.
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
        """Record one step.

        Args:
            first: First visible position.
            weights: (C, H, n, T) weights of the last layer over the last T positions, which sum to 1 over (n, T).
            log_probability: (C, K) log-probabilities of the sampled ids, in nats.
            log_probabilities: (C, K, V) log-probabilities of all ids, in nats.

        Raises:
            OutputError: The temporary folder is full; the step was not recorded.
        """
        if len(self._pending) == _PENDING:
            self._process_buffered()
        rows = weights.mean(1).to(torch.float16).cpu().numpy()
        self._pending.append((rows, log_probabilities))
        self._starts.append(self._starts[-1] + rows.nbytes)
        self._first.append(first)
        self._seen.append(rows.shape[-1])
        self._shares.append(weights.sum(-1).transpose(1, 2).float().cpu().numpy())
        self._log_probability.append(log_probability)

    def _process_buffered(self) -> None:
        """Process the buffered steps."""
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
                f"cannot write the trace to the temporary folder: {error.strerror}; set TMPDIR to use another folder"
            ) from error
        self._chances += zip(*step_chances(np.stack(log_probabilities)), strict=True)
        self._pending.clear()

    def _move_to_disk(self) -> None:
        """Move the rows to a temporary file; they stay in memory until all of them are written."""
        file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this)
        weakref.finalize(self, file.close)
        file.write(cast(io.BytesIO, self._rows).getbuffer())
        file.flush()
        self._rows = file

    @property
    def nbytes(self) -> int:
        """Size of the rows so far in bytes, in memory or on disk."""
        return self._starts[-1]

    def shares(self, candidate: int, since: int) -> NDArray[np.float32]:
        """Return the depth shares of one candidate, (S, n, H), for the steps from `since` on."""
        kept = self._shares[since:]
        return np.stack([step[candidate] for step in kept]) if kept else np.zeros((0, len(self._depths), 1), np.float32)

    def row(self, candidate: int, step: int) -> NDArray[np.float16]:
        """Return the row of one candidate at one step, (n, T)."""
        self._process_buffered()
        size = len(self._depths) * self._seen[step]
        self._rows.seek(self._starts[step] + 2 * candidate * size)
        row = np.frombuffer(self._rows.read(2 * size), dtype="<f2")
        return row.reshape(len(self._depths), self._seen[step])

    def trace(self, candidate: int, prompt: Ids, ids: Ids) -> Trace:
        """Return the trace of one candidate, with its rows in memory.

        Args:
            prompt: (P, K) ids of the prompt.
            ids: (S, K) ids of the continuation; steps beyond it are left out.
        """
        bare = self._without_attention(candidate, prompt, ids)
        rows = [self.row(candidate, step).ravel() for step in range(len(ids))]
        return Trace(**{**vars(bare), "attention": np.concatenate([np.zeros(0, np.float16), *rows])})

    def save(self, candidate: int, prompt: Ids, ids: Ids, path: Path) -> None:
        """Write the trace of one candidate without loading all its rows into memory. Raises OutputError."""
        save_trace(
            self._without_attention(candidate, prompt, ids),
            path,
            rows=(self.row(candidate, step) for step in range(len(ids))),
        )

    def _without_attention(self, candidate: int, prompt: Ids, ids: Ids) -> Trace:
        self._process_buffered()
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
