"""Ranks continuations of one prompt: by likelihood, by similarity to the prompt, and by absence of faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.plots.timeline import clock
from muse_tokenizers.base import Prompt
from muse_tokenizers.domain import Domain
from muse_tokenizers.measures import FAULTS, Measure, Number, distance, is_over

__all__ = ["Ranked", "find_faults", "rank"]


_NOTHING = "nothing was written"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """The rank of a candidate, with the reasons."""

    candidate: int
    place: int
    """Rank, from 1 for the best."""
    of: int
    nats_per_token: float
    """Nats per token; lower is likelier."""
    distance: float | None
    """Distance from a segment of equal length at the end of the prompt: the mean over measures, each in units of its
    mean over the candidates; None without a prompt."""
    faults: tuple[str, ...]
    """Faults: silence, loops, or an empty continuation."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON, as they are in a sidecar."""
        return asdict(self)


def rank(
    domain: Domain[Any],
    prompt: Prompt[Any],
    pieces: Sequence[Any],
    log_probabilities: Sequence[float],
    tokens: Sequence[int],
) -> list[Ranked]:
    """Rank the candidates, best first.

    Candidates with fewer faults come first. Equal ones are ordered by the sum of two ranks, that of likelihood and that
    of similarity to the end of the prompt, and by likelihood if the sums are equal.

    Args:
        domain: Domain of the pieces.
        prompt: The prompt.
        pieces: Prompt and continuation of each candidate.
        log_probabilities: Log-probabilities of the continuations in nats.
        tokens: Numbers of ids of the continuations.
    """
    nats = [-one / max(1, count) for one, count in zip(log_probabilities, tokens, strict=True)]
    lengths = [domain.duration(piece) - prompt.split_point for piece in pieces]
    found = [
        domain.measure(piece, prompt.split_point, prompt.split_point + length) if length > 0 else {}
        for piece, length in zip(pieces, lengths, strict=True)
    ]
    far = _distances(domain, prompt, found, lengths)
    faults = [_faults(measures, length, count) for measures, length, count in zip(found, lengths, tokens, strict=True)]
    together = _ranks(np.array(nats)) + (_ranks(np.array(far)) if far is not None else 0)
    order = sorted(range(len(pieces)), key=lambda c: (len(faults[c]), float(together[c]), nats[c], c))
    return [
        Ranked(
            candidate=c,
            place=place + 1,
            of=len(pieces),
            nats_per_token=nats[c],
            distance=None if far is None else far[c],
            faults=faults[c],
        )
        for place, c in enumerate(order)
    ]


def find_faults(domain: Domain[Any], piece: Any, start: float, tokens: int) -> list[str]:
    """Find the faults of a continuation, as in `Ranked.faults`, but with the time at which a silence begins.

    Args:
        domain: Domain of the piece.
        piece: Prompt and continuation.
        start: Beginning of the continuation in the piece.
        tokens: Number of generated ids.
    """
    end = domain.duration(piece)
    if tokens == 0 or end <= start:
        return [_NOTHING]
    found = _over_limits(domain.measure(piece, start, end))
    silence = domain.longest_silence(piece, start, end)
    if silence is not None and "longest_silence" in found:
        found["longest_silence"] = f"silent for {silence[1]:.1f} s from {clock(silence[0], 1)} on"
    return list(found.values())


def _distances(
    domain: Domain[Any], prompt: Prompt[Any], found: Sequence[dict[str, Measure]], lengths: Sequence[float]
) -> list[float] | None:
    """Return the distance of each candidate from the end of the prompt; None if there is no prompt to compare with."""
    if prompt.piece is None or prompt.split_point <= 0:
        return None
    # Each is compared with a segment of its own length, because measures depend on length.
    befores = [
        domain.measure(prompt.piece, max(0.0, prompt.split_point - length), prompt.split_point) if length > 0 else {}
        for length in lengths
    ]
    names = list(dict.fromkeys(name for before in befores for name in before))
    # (candidates, measures), NaN if one of the two lacks the measure
    table = np.array(
        [
            [distance(before[name], own[name]) if name in own and name in before else np.nan for name in names]
            for before, own in zip(befores, found, strict=True)
        ]
    ).reshape(len(found), len(names))
    present = ~np.isnan(table)
    means = np.where(present, table, 0.0).sum(0) / np.maximum(present.sum(0), 1)
    # A measure in which all distances are 0 has no information.
    telling = means > 0
    if not telling.any():
        return None
    scaled = np.where(present, table, 0.0)[:, telling] / means[telling]
    # A missing measure counts as the mean of the others.
    return [float(value) for value in np.where(present[:, telling], scaled, 1.0).mean(1)]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the number of smaller values, plus half of the ties."""
    smaller = (values[None] < values[:, None]).sum(1)
    ranks: NDArray[np.float64] = smaller + ((values[None] == values[:, None]).sum(1) - 1) / 2
    return ranks


def _faults(measures: dict[str, Measure], length: float, tokens: int) -> tuple[str, ...]:
    return (_NOTHING,) if tokens == 0 or length <= 0 else tuple(_over_limits(measures).values())


def _over_limits(measures: dict[str, Measure]) -> dict[str, str]:
    """Return the words for each measure that is over its limit."""
    found = [(name, words, measures.get(name), limit) for name, limit, _, words in FAULTS]
    return {name: words for name, words, one, limit in found if isinstance(one, Number) and is_over(one.value, limit)}
