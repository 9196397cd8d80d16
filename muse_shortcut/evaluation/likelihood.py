"""Likelihood of held-out pieces: every id is scored once, in a sliding window.

With window length L and stride S, the first window of a piece scores ids 1 to L. Each further window begins S steps
later and scores the S ids that the previous one did not reach, which therefore have a context of at least L - S ids.
Windows end with their piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from muse_shortcut.data.store import Store
from muse_shortcut.errors import OptionError
from muse_shortcut.evaluation.by_source import read_ids
from muse_shortcut.model.core import Core
from muse_shortcut.model.loss_mask import loss_mask
from muse_tokenizers.domain import Domain

__all__ = ["Likelihood", "PieceLikelihood", "ScoringWindows", "pool", "score_pieces", "windows_of"]


@dataclass(frozen=True, kw_only=True)
class ScoringWindows:
    """The sliding window."""

    context: int
    """Length of a window in steps."""
    stride: int
    """Steps between the beginnings of two windows."""
    batch_size: int = 8
    """Windows per forward pass, which affects the speed but not the result."""
    precision: torch.dtype = torch.float32
    """Precision of the forward pass; the loss is in float32."""

    def __post_init__(self) -> None:
        for name, most in (("stride", self.context), ("batch_size", 4096)):
            if not 1 <= getattr(self, name) <= most:
                raise OptionError(name, getattr(self, name), f"1 to {most}")


@dataclass(frozen=True, slots=True)
class PieceLikelihood:
    """Likelihood of one piece."""

    number: int
    """Index of the piece in its store."""
    stream_nats: tuple[float, ...]
    """Negative log-likelihood of each stream in nats, given its first step."""
    stream_tokens: tuple[int, ...]
    """Number of scored ids of each stream."""
    notes: int
    """Number of notes; 0 in a domain without notes."""
    seconds: float | None
    """Duration in seconds; None in a domain without time."""
    bytes: int | None = None
    """Length of a text in bytes; None in other domains."""

    @property
    def nats(self) -> float:
        return sum(self.stream_nats)

    @property
    def tokens(self) -> int:
        return sum(self.stream_tokens)

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self) | {"nats": self.nats, "tokens": self.tokens}


@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """Likelihood of several pieces together."""

    pieces: int
    tokens: int
    nats_per_token: float
    nats_by_stream: tuple[float, ...]
    """Nats per token of each stream, such as each codebook."""
    bits_per_second: float | None
    """Bits per second of music or sound; None in a domain without time."""
    bits_per_byte: float | None
    """Bits per byte of text; None in other domains."""
    nats_per_note: float | None
    """Total nats, including bars and tempos, divided by the number of notes; None in a domain without notes."""

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)


def pool(pieces: Sequence[PieceLikelihood]) -> Likelihood:
    """Pool the likelihoods of one or more pieces, as if they were one long piece."""
    nats, tokens = sum(piece.nats for piece in pieces), sum(piece.tokens for piece in pieces)
    notes = sum(piece.notes for piece in pieces)
    seconds = [piece.seconds for piece in pieces if piece.seconds is not None]
    size = sum(piece.bytes or 0 for piece in pieces)
    timed = len(seconds) == len(pieces) and sum(seconds) > 0
    return Likelihood(
        pieces=len(pieces),
        tokens=tokens,
        nats_per_token=nats / max(1, tokens),
        nats_by_stream=tuple(
            sum(of_stream) / max(1, sum(counts))
            for of_stream, counts in zip(
                zip(*(piece.stream_nats for piece in pieces), strict=True),
                zip(*(piece.stream_tokens for piece in pieces), strict=True),
                strict=True,
            )
        ),
        bits_per_byte=nats / math.log(2) / size if size else None,
        bits_per_second=nats / math.log(2) / sum(seconds) if timed else None,
        nats_per_note=nats / notes if notes else None,
    )


def windows_of(steps: int, scoring: ScoringWindows) -> list[tuple[int, int, int]]:
    """Return (start, first, end) of each window of a piece with that many steps: it reads steps start .. end - 2 and
    scores steps first .. end - 1."""
    windows, scored, start = [], 1, 0
    while scored < steps:
        end = min(start + scoring.context + 1, steps)
        windows.append((start, scored, end))
        scored, start = end, start + scoring.stride
    return windows


def score_pieces(
    core: Core,
    domain: Domain[Any],
    store: Store,
    sources: Mapping[str, Sequence[int]],
    scoring: ScoringWindows,
    watch: Callable[[int], None] = lambda _: None,
    *,
    without: Collection[int] = (),
) -> dict[str, list[PieceLikelihood]]:
    """Score pieces of a store.

    Args:
        core: Core in evaluation mode.
        domain: Domain of the store and the core.
        store: Store of the pieces.
        sources: Indices of the pieces, by source.
        scoring: The sliding window.
        watch: called with the number of windows that are scored.
        without: Depths that are hidden from the last layer.

    Returns:
        The likelihood of each piece, by source.
    """
    numbers = [number for pieces in sources.values() for number in pieces]
    jobs = [(number, *window) for number in numbers for window in windows_of(store.pieces[number].tokens, scoring)]
    # Batches of windows of similar length need little padding.
    jobs.sort(key=lambda job: (job[3] - job[1], job))
    nothing = np.zeros(core.config.streams)
    nats, tokens = dict.fromkeys(numbers, nothing), dict.fromkeys(numbers, nothing.astype(np.int64))
    for begin in range(0, len(jobs), scoring.batch_size):
        batch = jobs[begin : begin + scoring.batch_size]
        scores = _score_windows(core, domain, store, batch, scoring, without)
        for job, (found, count) in zip(batch, scores, strict=True):
            nats[job[0]] = nats[job[0]] + found
            tokens[job[0]] = tokens[job[0]] + count
        watch(begin + len(batch))
    starts = domain.note_starts()
    return {
        source: [
            PieceLikelihood(
                number,
                tuple(nats[number].tolist()),
                tuple(tokens[number].tolist()),
                int(starts[read_ids(store, number)].sum()),
                store.pieces[number].seconds,
                store.pieces[number].bytes,
            )
            for number in pieces
        ]
        for source, pieces in sources.items()
    }


@torch.inference_mode()
def _score_windows(
    core: Core,
    domain: Domain[Any],
    store: Store,
    batch: list[tuple[int, int, int, int]],
    scoring: ScoringWindows,
    without: Collection[int],
) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Return nats and numbers of ids, (K,) each, of each window (piece, start, first, end). Padding is at the end,
    where causality hides it."""
    longest = max(end - start for _, start, _, end in batch)
    shape = (len(batch), longest, core.config.streams)
    ids: NDArray[np.int64] = np.full(shape, domain.tokenizer.pad, dtype=np.int64)
    wanted = np.zeros(shape[:2], dtype=bool)
    for row, (number, start, first, end) in enumerate(batch):
        ids[row, : end - start] = store.tokens[store.offsets[number] + start : store.offsets[number] + end]
        wanted[row, first - start : end - start] = True
    device = core.norm.weight.device
    put = torch.from_numpy(ids).to(device)
    with torch.autocast(device.type, scoring.precision, enabled=scoring.precision != torch.float32):
        logits = core.forward_without(put[:, :-1], without) if without else core(put[:, :-1])
    scored = torch.from_numpy(wanted).to(device)[:, 1:, None]
    scored = scored & loss_mask(put[:, :-1], put[:, 1:], domain.tokenizer.pad, domain.tokenizer.end)
    losses = torch.zeros(scored.shape, dtype=torch.float64, device="cpu")
    losses[scored.cpu()] = F.cross_entropy(logits[scored].float(), put[:, 1:][scored], reduction="none").double().cpu()
    return list(zip(losses.sum(1).numpy(), scored.sum(1).cpu().numpy(), strict=True))
