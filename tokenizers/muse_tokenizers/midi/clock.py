"""Ticks of ids in seconds of the file that is written: by the prompt's own tempo map, and at its true tempo after it.

A vocabulary knows some tempos, files have any. So ids say 56 where a file says 54, and their own arithmetic is off by
seconds after a minute. The prompt keeps its file's tempo map; after the split point every tempo id is scaled by the
ratio of the prompt's prevailing tempo to the vocabulary's nearest: music that stays in tempo stays in the file's tempo.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.tempo_map import TempoMap

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["Clock", "Pace", "file_clock", "pace_of"]

_RECENT_SECONDS = 16.0
"""Of a prompt's end, over which its prevailing tempo is the median: longer than twice a ritardando."""
_HELD_SECONDS = 5.0
"""A last tempo that has held for so long is a new tempo, not a part of a ritardando: the median is over it alone."""
_SAME = 0.02
"""By how much tempos may differ that are one tempo."""
_CLOSING = 0.9
"""A prompt's last tempos below this share of the prevailing one are its ritardando, and not part of its range."""
_RANGE = (0.05, 0.95)
"""Quantiles, by time, between which the tempos of a prompt are its range."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The tempo of a prompt."""

    prevailing: float
    """Beats per minute that hold for most of its end: a ritardando just before the split point does not count."""
    slowest: float
    fastest: float
    """Beats per minute; nearly all of the prompt, without its ritardando, lies between them."""
    last: float
    """What is in force where the prompt ends."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds of ticks that ids count, up to the split point, and what tempo ids mean after it."""

    ticks: tuple[float, ...]
    """Rising, from 0: where the file's tempo changes."""
    seconds: tuple[float, ...]
    """At these ticks."""
    per_tick: tuple[float, ...]
    """Seconds per tick from there on."""
    quarter: int
    """Ticks."""
    split_point: float = float("inf")
    """The tick at which the continuation begins."""
    pace: Pace | None = None
    """Of the prompt; None before it is cut."""
    start: float = 120.0
    """Beats per minute from the split point on, until a tempo id says otherwise."""
    scale: float = 1.0
    """Of tempo ids after the split point: true beats per minute over the vocabulary's."""

    @classmethod
    def of_sections(cls, sections: Sequence[tuple[float, float, float]], quarter: int) -> Clock:
        """From ticks, their seconds, and seconds per tick from there on; `quarter` is its ticks."""
        ticks, seconds, per_tick = zip(*sections, strict=True)
        return cls(ticks=ticks, seconds=seconds, per_tick=per_tick, quarter=quarter)

    @property
    def sections(self) -> list[tuple[float, float, float]]:
        """What `of_sections` takes: up to the split point, and the one that begins there."""
        found = [one for one in zip(self.ticks, self.seconds, self.per_tick, strict=True) if one[0] < self.split_point]
        if self.split_point < float("inf"):
            found.append((self.split_point, self.at(self.split_point), self.per_tick_at(self.split_point)))
        return found

    def at(self, tick: float) -> float:
        """Seconds of a tick that is not after the split point."""
        section = bisect_right(self.ticks, tick) - 1
        return self.seconds[section] + (tick - self.ticks[section]) * self.per_tick[section]

    def per_tick_at(self, tick: float) -> float:
        """Seconds per tick from a tick on; at the split point, those with which the continuation begins."""
        if tick >= self.split_point:
            return round(60e6 / self.start) / 1e6 / self.quarter
        return self.per_tick[bisect_right(self.ticks, tick) - 1]


def file_clock(score: Score, ticks_per_quarter: int) -> Clock:
    """The clock of a score as its file has it, for ids that count so many ticks per quarter."""
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
    """The tempo of a score up to tick `end`."""
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
    """How many of the last items hold without a gap."""
    gaps = np.flatnonzero(~holds)
    return len(holds) - (int(gaps[-1]) + 1 if len(gaps) else 0)


def _quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """The value below which a share of the weight lies."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, share * reached[-1]))
    return float(values[order][min(place, len(values) - 1)])
