"""Continuations of music files beside what truly follows: ours, another piece of the set, and the prompt repeated.

Pairs are by piece: each candidate is compared with the true continuation of the same prompt. Knows files and models;
what a feature means, it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.api.model import Model
from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.evaluation.bootstrap import Interval, mean_interval
from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.midi.continuity import FEATURES, Feature, Value, difference, features
from muse_tokenizers.midi.note_table import NoteTable, note_table
from muse_tokenizers.wording import counted

__all__ = [
    "CANDIDATES",
    "Excerpt",
    "FeatureRow",
    "Lengths",
    "Measured",
    "choose_excerpts",
    "continue_excerpts",
    "table",
]

CANDIDATES = ("ours", "another", "repeated")
"""What is compared with the true continuation: the model's, another piece's at the same time, the prompt again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """In seconds."""

    prompt: float = 15.0
    continuation: float = 30.0

    def __post_init__(self) -> None:
        for option, value in (("prompt_seconds", self.prompt), ("seconds", self.continuation)):
            if not 1 <= value <= 3600:
                raise OptionError(option, value, "1 to 3600")


@dataclass(frozen=True, kw_only=True, slots=True)
class Excerpt:
    """A piece that is long enough, and the one it is compared with."""

    name: str
    piece: Any
    notes: NoteTable
    other: NoteTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The features of one continuation and of what it is compared with, by candidate and "true"."""

    name: str
    sample: int
    start: float
    """Where the prompt ends in its file, seconds."""
    steps: int
    features: dict[str, dict[str, Value]]


def choose_excerpts(
    model: Model,
    files: Sequence[tuple[str, Path]],
    lengths: Lengths,
    count: int,
    seed: int,
    watch: Callable[[int], None] = lambda _: None,
) -> list[Excerpt]:
    """Pieces that are long enough, chosen at random; files that cannot be read are passed over.

    Args:
        model: whose reader is used.
        files: (name, path).
        lengths: of prompts and continuations.
        count: how many at most.
        seed: another one chooses other pieces.
        watch: called with how many have been found.

    Raises:
        ArgumentsError: fewer than two pieces are long enough.
    """
    found: list[tuple[str, Any, NoteTable]] = []
    for place in np.random.default_rng(seed).permutation(len(files)).tolist():
        name, path = files[place]
        try:
            piece = model.domain.read(path, warn=lambda _: None)
        except UnreadablePieceError:
            continue
        notes = note_table(piece)
        # A piece whose last onset comes before the end of the continuation would be compared with silence.
        if float(notes.onset[-1]) >= lengths.prompt + lengths.continuation and float(notes.onset[0]) < lengths.prompt:
            found.append((name, piece, notes))
            watch(len(found))
        if len(found) == count:
            break
    if len(found) < 2:
        raise ArgumentsError(
            f"of {counted(len(files), 'file')} {len(found)} can be read and last "
            f"{lengths.prompt + lengths.continuation:g} seconds; at least 2 must, one to compare with the other"
        )
    found.sort(key=lambda one: one[0])
    others = [notes for *_, notes in found[1:] + found[:1]]
    return [
        Excerpt(name=name, piece=piece, notes=notes, other=other)
        for (name, piece, notes), other in zip(found, others, strict=True)
    ]


def continue_excerpts(
    model: Model,
    excerpts: Sequence[Excerpt],
    lengths: Lengths,
    options: Mapping[str, Any],
    *,
    samples: int = 1,
    seed: int = 0,
    watch: Callable[[int], None] = lambda _: None,
) -> list[Measured]:
    """Continue each excerpt, and measure the continuations and what they are compared with.

    Args:
        model: that continues.
        excerpts: see `choose_excerpts`.
        lengths: of prompts and continuations.
        options: of `Model.continue_`, for whoever tries other sampling or constraints.
        samples: continuations of each prompt.
        seed: of the samples.
        watch: called with how many excerpts are done.
    """
    found: list[Measured] = []
    for number, excerpt in enumerate(excerpts):
        made = model.continue_(
            excerpt.piece,
            trace=False,
            **{
                "prompt_seconds": lengths.prompt,
                "seconds": lengths.continuation,
                "num_samples": samples,
                "seed": seed * 100_003 + number,
                **options,
            },
        )
        found += [
            _measure(excerpt, note_table(one.piece), one.start, lengths, one.candidate, len(one.ids)) for one in made
        ]
        watch(number + 1)
    return found


def _measure(excerpt: Excerpt, ours: NoteTable, start: float, lengths: Lengths, sample: int, steps: int) -> Measured:
    end, length = start + lengths.continuation, lengths.continuation
    before = excerpt.notes.between(max(0.0, start - lengths.prompt), start)
    segments = {
        "true": excerpt.notes.between(start, end),
        "ours": ours.between(start, end),
        "another": excerpt.other.between(start, end),
        "repeated": before.repeated(min(start, lengths.prompt), length),
    }
    return Measured(
        name=excerpt.name,
        sample=sample,
        start=start,
        steps=steps,
        features={name: features(segment, before, length) for name, segment in segments.items()},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRow:
    """One feature over all continuations."""

    feature: str
    unit: str
    means: dict[str, float]
    """Of its value, by candidate and "true"; without histograms."""
    medians: dict[str, float]
    distances: dict[str, Interval | float]
    """Mean distance from the true continuation, by candidate, with its interval where there are enough pieces."""
    nearer: Interval | None
    """Distance of another piece less ours, paired by piece: above 0 ours is nearer."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_FLAT = 1.0
"""Standard deviation of velocity below which dynamics are not written out: a score whose notes all have one."""


def table(measured: Sequence[Measured], seed: int) -> list[FeatureRow]:
    """Every feature that means something for these pieces; `seed` draws the resamples of intervals."""
    rows = []
    for feature in FEATURES:
        row = _row(feature, measured, seed)
        if row is not None:
            rows.append(row)
    return rows


def _row(feature: Feature, measured: Sequence[Measured], seed: int) -> FeatureRow | None:
    name = feature.name
    if not any(name in one.features["true"] for one in measured):
        return None
    values = {
        candidate: np.array(
            [v for one in measured if isinstance(v := one.features[candidate].get(name), float)], dtype=np.float64
        )
        for candidate in ("true", *CANDIDATES)
    }
    if name == "velocity" and np.std(values["true"]) < _FLAT:
        return None
    distances: dict[str, Interval | float] = {}
    nearer = None
    if feature.compare != "none":
        by_piece = {candidate: _by_piece(feature, measured, candidate) for candidate in CANDIDATES}
        for candidate, column in by_piece.items():
            present = column[~np.isnan(column)]
            if len(present):
                distances[candidate] = mean_interval(present, seed=seed) or float(present.mean())
        gains = by_piece["another"] - by_piece["ours"]
        nearer = mean_interval(gains[~np.isnan(gains)], seed=seed)
    return FeatureRow(
        feature=name,
        unit=feature.unit,
        means={candidate: float(column.mean()) for candidate, column in values.items() if len(column)},
        medians={candidate: float(np.median(column)) for candidate, column in values.items() if len(column)},
        distances=distances,
        nearer=nearer,
    )


def _by_piece(feature: Feature, measured: Sequence[Measured], candidate: str) -> NDArray[np.float64]:
    """(pieces,) the mean distance over a piece's samples; NaN where one of the two has no such feature."""
    found: dict[str, list[float]] = {}
    for one in measured:
        true, value = one.features["true"].get(feature.name), one.features[candidate].get(feature.name)
        both = true is not None and value is not None
        found.setdefault(one.name, []).append(difference(feature, value, true) if both else np.nan)  # type: ignore[arg-type]
    return np.array([np.mean(values) for values in found.values()])
