"""Continues music files, and compares with what truly follows: the model's continuation, another piece, and the
repeated prompt.

Comparisons are paired by piece: each candidate is compared with the true continuation of the same prompt. Knows files
and models; does not know what a feature means.
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
"""The candidates: the model's continuation, another piece at the same time, and the repeated prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Lengths of prompts and continuations in seconds."""

    prompt: float = 15.0
    continuation: float = 30.0

    def __post_init__(self) -> None:
        for option, value in (("prompt_seconds", self.prompt), ("seconds", self.continuation)):
            if not 1 <= value <= 3600:
                raise OptionError(option, value, "1 to 3600")


@dataclass(frozen=True, kw_only=True, slots=True)
class Excerpt:
    """A piece that is long enough, and the other piece that it is compared with."""

    name: str
    piece: Any
    notes: NoteTable
    other: NoteTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The features of one continuation and of its candidates, by candidate and "true"."""

    name: str
    sample: int
    start: float
    """End of the prompt in its file, in seconds."""
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
    """Choose pieces at random that are long enough; files that cannot be read are skipped.

    Args:
        model: Model, whose domain reads the files.
        files: Pairs of name and path.
        lengths: Lengths of prompts and continuations.
        count: Largest number of pieces.
        seed: Seed of the choice.
        watch: Called with the number of pieces found so far.

    Raises:
        ArgumentsError: Fewer than two pieces are long enough.
    """
    found: list[tuple[str, Any, NoteTable]] = []
    for place in np.random.default_rng(seed).permutation(len(files)).tolist():
        name, path = files[place]
        try:
            piece = model.domain.read(path, warn=lambda _: None)
        except UnreadablePieceError:
            continue
        notes = note_table(piece)
        # A piece whose last onset precedes the end of the continuation would be compared with silence.
        if float(notes.onset[-1]) >= lengths.prompt + lengths.continuation and float(notes.onset[0]) < lengths.prompt:
            found.append((name, piece, notes))
            watch(len(found))
        if len(found) == count:
            break
    if len(found) < 2:
        raise ArgumentsError(
            f"{len(found)} of {counted(len(files), 'file')} can be read and last at least "
            f"{lengths.prompt + lengths.continuation:g} seconds; 2 are needed, one to compare with the other"
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
    """Continue each excerpt, and measure the continuations and their candidates.

    Args:
        model: Model that continues the excerpts.
        excerpts: Excerpts from `choose_excerpts`.
        lengths: Lengths of prompts and continuations.
        options: Other options of `Model.continue_`, such as sampling or constraints.
        samples: Number of continuations of each prompt.
        seed: Seed of the samples.
        watch: Called with the number of finished excerpts.
    """
    found: list[Measured] = []
    for number, excerpt in enumerate(excerpts):
        continuations = model.continue_(
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
            _measure(excerpt, note_table(one.piece), one.start, lengths, one.candidate, len(one.ids))
            for one in continuations
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
    """One feature, aggregated over all continuations."""

    feature: str
    unit: str
    means: dict[str, float]
    """Mean of its value, by candidate and "true"; empty for histograms."""
    medians: dict[str, float]
    distances: dict[str, Interval | float]
    """Mean distance from the true continuation, by candidate, with its interval if there are enough pieces."""
    nearer: Interval | None
    """Distance of another piece minus that of the model, paired by piece; if it is positive, the model is nearer."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_FLAT = 1.0
"""Standard deviation of velocity below which a score is treated as having no dynamics."""


def table(measured: Sequence[Measured], seed: int) -> list[FeatureRow]:
    """Aggregate every feature that applies to these pieces; `seed` is that of the bootstrap."""
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
    """Return the mean distance over the samples of each piece, (pieces,); NaN if one of the two lacks the feature."""
    found: dict[str, list[float]] = {}
    for one in measured:
        true, value = one.features["true"].get(feature.name), one.features[candidate].get(feature.name)
        both = true is not None and value is not None
        found.setdefault(one.name, []).append(difference(feature, value, true) if both else np.nan)  # type: ignore[arg-type]
    return np.array([np.mean(values) for values in found.values()])
