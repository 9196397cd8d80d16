"""Extracts a segment of a score as arrays: notes that begin, notes that sound, bars."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.scores import held_ends
from muse_tokenizers.midi.tempo_map import TempoMap

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["DRUMS", "GRID", "Bar", "Segment", "bar_lines", "take_segment"]

GRID = 24
"""Grid steps per beat for comparing onsets. A beat is a quarter, whatever the time signature."""
DRUMS = -1
"""Program of the drum kit."""
_EDGE = 0.002
"""Seconds by which the edges of a window are early: a split point and the onset at it are computed in different ways,
and may differ because tempos are rounded to microseconds. A grid step lasts 10 ms even at 260 beats per minute."""

_EMPTY_BARS = 1_000
"""Largest number of bars after the end of a score: at tempos of millions there are too many."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar that is completely inside a segment."""

    steps: int
    """Length in grid steps."""
    notes: frozenset[tuple[int, int, int]]
    """(onset in the bar in grid steps, pitch, program) of each note that begins in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """The window [start, end) of a score. N notes begin in it, and M notes sound in it, both including drums.

    Notes are ordered by onset, then pitch, then program.
    """

    seconds: float
    """Length of the window in seconds."""
    pitch: NDArray[np.int64]
    """(N,)"""
    program: NDArray[np.int64]
    """(N,) programs; `DRUMS` for the drum kit."""
    onset: NDArray[np.float64]
    """(N,) onsets in beats from the start of the score."""
    length: NDArray[np.float64]
    """(N,) lengths in beats while the key is held."""
    onset_seconds: NDArray[np.float64]
    """(N,) onsets in seconds from the start of the score."""
    onset_bars: NDArray[np.float64]
    """(N,) onsets in bars from the start of the score, with fractions."""
    step_in_bar: NDArray[np.int64]
    """(N,) onsets in grid steps from their bar line."""
    sounding: NDArray[np.float64]
    """(M, 3) seconds from the start of the window, clipped to it: onset of each sounding note, release of its key, end
    under the pedal."""
    sounding_drums: NDArray[np.bool_]
    """(M,)"""
    bars: tuple[Bar, ...]
    """Bars that are completely inside the window, including those after the last note."""


def take_segment(score: Score, start: float, end: float) -> Segment:
    """Return the segment [start, end) of a score in seconds from its start; it may extend beyond the score."""
    tempo = TempoMap(score)
    time, release, held, pitch, program = _all_notes(score)
    room = _room(score, int(held.max(initial=0)))
    places = (start - _EDGE, end - _EDGE, end + _EDGE)
    first, last, last_line = (min(float(tempo.ticks(at)), room) for at in places)
    lines = bar_lines(score, last_line)
    inside = (time >= first) & (time < last)
    order = np.flatnonzero(inside)[np.lexsort((program[inside], pitch[inside], time[inside]))]
    quarter = score.ticks_per_quarter
    bar = np.searchsorted(lines, time[order], side="right") - 1
    in_bar = time[order] - lines[bar]
    heard = (time < last) & (held > first)
    spans = tempo.seconds(np.stack([time[heard], release[heard], held[heard]], axis=1)) - start
    return Segment(
        seconds=end - start,
        pitch=pitch[order],
        program=program[order],
        onset=time[order] / quarter,
        length=(release - time)[order] / quarter,
        onset_seconds=tempo.seconds(time[order]),
        onset_bars=bar + in_bar / np.diff(lines)[bar],
        step_in_bar=np.rint(in_bar * GRID / quarter).astype(np.int64),
        sounding=np.clip(spans, 0.0, end - start),
        sounding_drums=program[heard] == DRUMS,
        bars=_whole_bars(lines, first, last_line, quarter, time, pitch, program),
    )


def _room(score: Score, end: int) -> float:
    """Return the tick up to which a score that ends at `end` is extended."""
    signatures = [(item.time, item.numerator / item.denominator) for item in score.time_signatures]
    _, whole_notes = max(signatures, key=itemgetter(0), default=(0, 1.0))
    return end + float(_EMPTY_BARS * 4 * score.ticks_per_quarter * whole_notes)


def _all_notes(score: Score) -> tuple[NDArray[np.int64], ...]:
    """Return onset, release and end under the pedal in ticks, pitch and program of every note, in the order of the
    tracks."""
    columns = [np.zeros((5, 0), dtype=np.int64)]
    for track in score.tracks:
        notes = track.notes.numpy()
        time = notes["time"].astype(np.int64)
        program = np.full(len(time), DRUMS if track.is_drum else track.program, dtype=np.int64)
        release = time + notes["duration"]
        columns.append(np.stack([time, release, held_ends(track), notes["pitch"].astype(np.int64), program]))
    return tuple(np.concatenate(columns, axis=1))


def bar_lines(score: Score, until: float) -> NDArray[np.float64]:
    """Return the bar lines in ticks, from 0 to one after `until`; a time signature begins a bar."""
    quarter = score.ticks_per_quarter
    found = [(item.time, item.numerator, item.denominator) for item in score.time_signatures]
    signatures = sorted(found, key=itemgetter(0))
    if not signatures or signatures[0][0] > 0:
        signatures.insert(0, (0, 4, 4))
    lines = []
    for number, (time, beats, unit) in enumerate(signatures):
        length = quarter * 4 * beats / unit
        following = signatures[number + 1][0] if number + 1 < len(signatures) else np.inf
        if time > until:
            following = np.inf
        reach = max(until, time) + 2 * length if following == np.inf else following
        lines.append(np.arange(time, reach, length))
        if following == np.inf:
            break
    return np.concatenate(lines)


def _whole_bars(
    lines: NDArray[np.float64],
    first: float,
    last: float,
    quarter: int,
    time: NDArray[np.int64],
    pitch: NDArray[np.int64],
    program: NDArray[np.int64],
) -> tuple[Bar, ...]:
    order = np.argsort(time, kind="stable")
    onsets = time[order]
    bars = []
    for line, following in pairwise(lines.tolist()):
        if line >= first and following <= last:
            begin, stop = np.searchsorted(onsets, (line, following))
            members = order[begin:stop]
            steps = np.rint((time[members] - line) * GRID / quarter).astype(np.int64)
            notes = zip(steps.tolist(), pitch[members].tolist(), program[members].tolist(), strict=True)
            bars.append(Bar(round((following - line) * GRID / quarter), frozenset(notes)))
    return tuple(bars)
