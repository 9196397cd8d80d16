"""Clocks: convert ticks of ids to seconds of the written file, by the tempo map of the prompt and its actual tempo
after it.

A vocabulary has a limited set of tempos. If ids say 56 for a file's 54, times that are computed from the ids are off by
seconds after a minute. The prompt keeps the tempo map of its file; after the split point every tempo id is scaled by
the ratio of the prompt's prevailing tempo to the nearest one of the vocabulary, so that music that keeps its tempo
keeps that of the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muse_tokenizers.midi.tempo_map import TempoMap

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["Clock", "Pace", "file_clock", "pace_of"]

_RECENT_SECONDS = 16.0
"""Seconds at the end of a prompt over which its prevailing tempo is the median: longer than twice a ritardando."""
_HELD_SECONDS = 5.0
"""A final tempo that lasts this long is a new tempo, not part of a ritardando: the median is over it only."""
_SAME = 0.02
"""Largest relative difference between equal tempos."""
_CLOSING = 0.9
"""Final tempos below this fraction of the prevailing one are a ritardando, and not part of the range."""
_RANGE = (0.05, 0.95)
"""Quantiles by time between which the tempos of a prompt form its range."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The tempo of a prompt."""

    prevailing: float
    """Prevailing tempo in beats per minute at its end: a ritardando just before the split point is ignored."""
    slowest: float
    fastest: float
    """Range in beats per minute of nearly all of the prompt, without its ritardando."""
    last: float
    """Tempo in effect at the end of the prompt."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Times of ticks up to the split point, and the meaning of tempo ids after it."""

    ticks: tuple[float, ...]
    """Ticks at which the tempo of the file changes, in ascending order from 0."""
    seconds: tuple[float, ...]
    """Seconds at these ticks."""
    per_tick: tuple[float, ...]
    """Seconds per tick after each of them."""
    quarter: int
    """Length of a quarter in ticks."""
    split_point: float = float("inf")
    """Tick at which the continuation begins."""
    pace: Pace | None = None
    """Tempo of the prompt; None before it is cut."""
    start: float = 120.0
    """Tempo in beats per minute from the split point until the next tempo id."""
    scale: float = 1.0
    """Ratio of the actual tempo to that of a tempo id after the split point."""

    @classmethod
    def of_sections(cls, sections: Sequence[tuple[float, float, float]], quarter: int) -> Clock:
        """Build a clock from sections (tick, seconds, seconds per tick); `quarter` is the length of a quarter in
        ticks."""
        ticks, seconds, per_tick = zip(*sections, strict=True)
        return cls(ticks=ticks, seconds=seconds, per_tick=per_tick, quarter=quarter)

    @property
    def sections(self) -> list[tuple[float, float, float]]:
        """Return the sections that `of_sections` accepts, up to the split point and including the one that begins
        there."""
        found = [one for one in zip(self.ticks, self.seconds, self.per_tick, strict=True) if one[0] < self.split_point]
        if self.split_point < float("inf"):
            found.append((self.split_point, self.at(self.split_point), self.per_tick_at(self.split_point)))
        return found

    def at(self, tick: float) -> float:
        """Return the time in seconds of a tick up to the split point."""
        section = bisect_right(self.ticks, tick) - 1
        return self.seconds[section] + (tick - self.ticks[section]) * self.per_tick[section]

    def many(self, ticks: ArrayLike) -> NDArray[np.float64]:
        """Return the times in seconds of ticks of any shape."""
        at = np.asarray(ticks, dtype=np.float64)
        section = np.maximum(np.searchsorted(self.ticks, at, side="right") - 1, 0)
        seconds, begins, rates = (np.array(column)[section] for column in (self.seconds, self.ticks, self.per_tick))
        return np.asarray(seconds + (at - begins) * rates)

    def per_tick_at(self, tick: float) -> float:
        """Return the seconds per tick from a tick on; at the split point, those at which the continuation begins."""
        if tick >= self.split_point:
            return round(60e6 / self.start) / 1e6 / self.quarter
        return self.per_tick[bisect_right(self.ticks, tick) - 1]


def file_clock(score: Score, ticks_per_quarter: int) -> Clock:
    """Return the clock of a score for ids with this many ticks per quarter."""
    tempos = score.tempos.numpy()
    changes = np.unique(np.concatenate(([0], tempos["time"].astype(np.int64))))
    tempo, ratio = TempoMap(score), ticks_per_quarter / score.ticks_per_quarter
    at = tempo.seconds(changes)
    following = tempo.seconds(changes + 1)
    return Clock(
        ticks=tuple((changes * ratio).tolist()),
        seconds=tuple(at.tolist()),
        per_tick=tuple(((following - at) / ratio).tolist()),
        quarter=ticks_per_quarter,
    )


def pace_of(score: Score, end: int) -> Pace:
    """Return the tempo of a score up to tick `end`."""
    tempo = TempoMap(score)
    changes = score.tempos.numpy()["time"].astype(np.int64)
    edges = np.unique(np.concatenate(([0], changes[(changes > 0) & (changes < end)], [max(end, 1)])))
    at = tempo.seconds(edges)
    lengths = np.diff(at)
    tempos = 60.0 * np.diff(edges) / score.ticks_per_quarter / np.maximum(lengths, 1e-12)
    since = at[-1] - _RECENT_SECONDS
    held = _last_run(np.abs(tempos / tempos[-1] - 1.0) <= _SAME)
    if at[-1] - at[-1 - held] >= _HELD_SECONDS:
        since = max(since, at[-1 - held])
    recent = np.minimum(np.maximum(at[1:] - since, 0.0), lengths)
    prevailing = _quantile(tempos, recent, 0.5)
    steady = len(tempos) - _last_run(tempos < _CLOSING * prevailing)
    slowest, fastest = (_quantile(tempos[:steady], lengths[:steady], share) for share in _RANGE)
    return Pace(
        prevailing=prevailing,
        slowest=min(slowest, prevailing),
        fastest=max(fastest, prevailing),
        last=float(tempos[-1]),
    )


def _last_run(holds: NDArray[np.bool_]) -> int:
    """Return the length of the final run of true items."""
    gaps = np.flatnonzero(~holds)
    return len(holds) - (int(gaps[-1]) + 1 if len(gaps) else 0)


def _quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """Return a weighted quantile."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, share * reached[-1]))
    return float(values[order][min(place, len(values) - 1)])
