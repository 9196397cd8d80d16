"""A trace on the time axis of its piece, as numbers to draw. Knows tokens and traces; nothing of how they are drawn."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.generation.ablation import SourceSpan, spans_of
from muse_shortcut.generation.trace import Trace
from muse_tokenizers.base import Prompt, Token, Tokenizer

__all__ = [
    "AttendedSpan",
    "Note",
    "Timeline",
    "alternatives_of",
    "clock",
    "make_timeline",
    "percent",
    "sources_of",
    "telling_step",
]

_LAST_SECONDS = 0.25
"""How much room the ids of the very last moment get."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A note of the roll."""

    pitch: int
    start: float
    end: float
    first: int
    """The position of its first id."""
    is_new: bool
    is_drum: bool
    label: str
    """The name of its pitch or of its drum."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """P + S positions and the time each takes on the axis."""

    spans: tuple[SourceSpan, ...]
    """Notes, and what is none, in order."""
    notes: tuple[Note, ...]
    edges: NDArray[np.float64]
    """(P + S + 1,) seconds: position p is drawn from edges[p] to edges[p + 1]. Ids of one moment share the time up to
    the next moment evenly."""
    split_point: float
    """Seconds at which the continuation begins."""
    end: float
    """Seconds at which the last note ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttendedSpan:
    """A span that was attended to."""

    span: SourceSpan
    by_depth: NDArray[np.float32]
    """(n,) weights."""

    @property
    def weight(self) -> float:
        return float(self.by_depth.sum())


def make_timeline(tokens: Sequence[Sequence[Token]], prompt_steps: int) -> Timeline:
    """Of (T, K) tokens of `Tokenizer.describe`, the first `prompt_steps` of them the prompt's."""
    # To the microsecond: what sums of floats tell apart is one moment.
    starts = np.maximum.accumulate(np.round([step[0].start for step in tokens], 6))
    ends = [float(step[0].end) for step in tokens]
    last = max([float(starts[-1]) + _LAST_SECONDS, *ends])
    split_point = float(starts[prompt_steps]) if prompt_steps < len(starts) else last
    edges = np.empty(len(tokens) + 1)
    edges[:prompt_steps] = _shared(
        np.minimum(starts[:prompt_steps], _before(starts[:prompt_steps], split_point)), split_point
    )
    edges[prompt_steps:-1] = _shared(starts[prompt_steps:], min(last, float(starts[-1]) + _LAST_SECONDS))
    edges[-1] = min(last, float(starts[-1]) + _LAST_SECONDS)
    spans = spans_of(tokens)
    values = {position: step[0].value for position, step in enumerate(tokens)}
    notes = tuple(
        Note(
            pitch=values[span.first] or 0,
            start=span.start,
            end=span.end,
            first=span.first,
            is_new=span.first >= prompt_steps,
            is_drum=span.kind == "drum",
            label=span.label,
        )
        for span in spans
        if span.kind in ("pitch", "drum")
    )
    return Timeline(spans=tuple(spans), notes=notes, edges=edges, split_point=split_point, end=last)


def _before(starts: NDArray[np.float64], split_point: float) -> float:
    """Return the last start before the split point, where spans of the prompt that begin at the split point (the bar to
    be filled) are drawn."""
    earlier = starts[starts < split_point]
    return float(earlier[-1]) if len(earlier) else split_point


def _shared(starts: NDArray[np.float64], end: float) -> NDArray[np.float64]:
    """Where each of some ids begins, if those of one moment share the time up to the next, and the last up to `end`."""
    moments, first, counts = np.unique(starts, return_index=True, return_counts=True)
    following = np.append(moments[1:], end)
    within = np.arange(len(starts)) - np.repeat(first, counts)
    shared: NDArray[np.float64] = starts + within * np.repeat((following - moments) / counts, counts)
    return shared


def sources_of(trace: Trace, timeline: Timeline, step: int) -> list[AttendedSpan]:
    """What a new step attended to, span by span, strongest first."""
    begin, row = trace.attended(step)
    low = bisect_right(timeline.spans, begin, key=lambda span: span.stop)
    high = bisect_left(timeline.spans, begin + row.shape[1], key=lambda span: span.first)
    spans = timeline.spans[low:high]
    weights = _summed(row, begin, [(span.first, span.stop) for span in spans])
    found = [AttendedSpan(span=span, by_depth=by_depth) for span, by_depth in zip(spans, weights.T, strict=True)]
    return sorted(found, key=lambda source: -source.weight)


def _summed(row: NDArray[np.float32], begin: int, spans: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """(n, spans): the weight of each span (first, stop) of positions under a row (n, T) that begins at `begin`."""
    # cumulative[:, p] is the weight of all positions before p.
    cumulative = np.concatenate([np.zeros((len(row), 1)), np.cumsum(row, axis=1, dtype=np.float64)], axis=1)
    low, high = (np.array(spans, dtype=np.int64).reshape(-1, 2) - begin).clip(0, row.shape[1]).T
    summed: NDArray[np.float32] = (cumulative[:, high] - cumulative[:, low]).astype(np.float32)
    return summed


def telling_step(trace: Trace, timeline: Timeline) -> int | None:
    """The new step, of those at which a note begins, whose strongest note is the strongest of all.

    Of the middle half of the continuation if notes begin there: at its edges there is little to see on one side. None
    where no note is new.
    """
    firsts = [note.first for note in timeline.notes]
    stops = {span.first: span.stop for span in timeline.spans}
    steps = [note.first - trace.prompt_steps for note in timeline.notes if note.is_new]
    low, high = np.quantile([timeline.split_point, timeline.end], (0.25, 0.75))
    middle = [step for step in steps if low <= timeline.edges[trace.prompt_steps + step] <= high]

    def strongest(step: int) -> float:
        begin, row = trace.attended(step)
        seen = firsts[bisect_left(firsts, begin) : bisect_left(firsts, begin + row.shape[1])]
        return float(_summed(row, begin, [(first, stops[first]) for first in seen]).sum(0).max(initial=0.0))

    return max(middle or steps, key=strongest, default=None)


def alternatives_of(
    trace: Trace, tokenizer: Tokenizer[Any], step: int, most: int = 4, prompt: Prompt[Any] | None = None
) -> list[tuple[Token, float]]:
    """What a new step could have been besides, likeliest first, with its chance; of the first stream."""
    end = trace.prompt_steps + step
    found = []
    for other, nats in zip(trace.alternatives[step, 0], trace.alternative_log_probability[step, 0], strict=True):
        if other >= 0 and other != trace.ids[end, 0]:
            instead = trace.ids[: end + 1].copy()
            instead[end, 0] = other
            found.append((tokenizer.describe(instead, prompt)[end][0], float(np.exp(nats))))
    return found[:most]


def percent(share: float) -> str:
    """A share of 1 to two places that mean something.

    >>> [percent(share) for share in (0.996, 0.0614, 0.0041)]
    ['100 %', '6.1 %', '0.41 %']
    """
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def clock(seconds: float, places: int = 0) -> str:
    """Minutes and seconds.

    >>> clock(75.2), clock(59.996, 2)
    ('1:15', '1:00.00')
    """
    parts = 10**places
    whole, part = divmod(round(seconds * parts), parts)
    return f"{whole // 60}:{whole % 60:02d}" + (f".{part:0{places}d}" if places else "")
