"""Scores to ids in parts and back; see `parts_vocabulary` for the tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.labels import program_name
from muse_tokenizers.midi.parts_reading import PartsReading
from muse_tokenizers.midi.parts_vocabulary import DRUM_KIT, PARTS, SIGNATURES, TICKS, PartsKind, PartsTables
from muse_tokenizers.midi.scores import clean_notes, held_spans, rewrite_time_signatures
from muse_tokenizers.midi.tempo_map import TempoMap

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = ["PartsEvents", "decode_parts", "encode_parts", "players", "prevailing_tempo"]

_EIGHTH = TICKS // 2
_LONGEST_BAR = 16
"""Length of the longest bar in eighths."""
_PERFORMED = 0.2
"""A score is a performance if this share of its notes is off the grid of 24ths of a quarter; in free time, half of them
are."""
_UP, _DOWN, _NOTE = 0, 1, 2
"""Events, in their order at one position."""
Bars = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Bar lines (B,), and the indices (B,) of their time signatures in `SIGNATURES`."""


@dataclass(frozen=True, slots=True)
class PartsEvents:
    """The events and bars of a score in ticks of the ids."""

    events: NDArray[np.int64]
    """(N, 6): tick, kind, player, pitch, ticks, velocity; sorted as they are encoded."""
    lines: NDArray[np.int64]
    """(B,) bar lines, up to the last event or a given bar line."""
    signatures: NDArray[np.int64]
    """(B,) index of their time signature in `SIGNATURES`."""
    tempos: NDArray[np.float64]
    """(B,) mean beats per minute of each bar."""

    @classmethod
    def of(cls, score: Score, tables: PartsTables, bars: Bars | None = None) -> PartsEvents:
        """Read a score, with bars up to its last event, or with those given."""
        events = _without_overlaps(_events(score), tables)
        events = events[np.lexsort((events[:, 3], events[:, 2], events[:, 1], events[:, 0]))]
        lines, signatures = _bars(score, int(events[:, 0].max(initial=0))) if bars is None else bars
        return cls(events, lines, signatures, _bar_tempos(score, lines, signatures))

    def ids(self, tables: PartsTables, *, style: int = 0, bars: int | None = None) -> NDArray[np.int64]:
        """Return the header, and the bars with their events, (T,).

        Args:
            tables: The vocabulary.
            style: Index of its style in `STYLES`.
            bars: Number of bars; None for all. With a number, the id of the bar after them is the last one.
        """
        count = len(self.lines) if bars is None else bars
        inside = self.events[:, 0] < (self.lines[count] if count < len(self.lines) else self.end)
        events, onsets = self.events[inside], self.events[inside & (self.events[:, 1] == _NOTE), 0]
        performed = len(onsets) > 0 and (onsets % 2).mean() >= _PERFORMED
        prevailing = self.prevailing(count)
        header = [
            tables.first[PartsKind.Origin] + performed,
            tables.first[PartsKind.Style] + style,
            tables.nearest_base(prevailing),
        ]
        bar = np.searchsorted(self.lines, events[:, 0], side="right") - 1
        table = np.concatenate(
            [
                self._bar_ids(tables, count, prevailing),
                _event_ids(tables, events, events[:, 0] - self.lines[bar]),
            ]
        )
        order = np.argsort(np.concatenate([2 * np.arange(count), 2 * bar + 1]), kind="stable")
        ids = table[order].ravel()
        last = [] if bars is None else [tables.first[PartsKind.Bar]]
        return np.concatenate([header, ids[ids >= 0], last]).astype(np.int64)

    @property
    def first_note(self) -> int:
        """Return the tick of the first note."""
        return int(self.events[self.events[:, 1] == _NOTE, 0].min())

    @property
    def end(self) -> int:
        """Return the bar line after the last bar."""
        beats, unit = SIGNATURES[self.signatures[-1]]
        return int(self.lines[-1] + TICKS * 4 * beats // unit)

    def bars_before(self, number: int) -> Bars:
        """Return the first bars."""
        return self.lines[:number], self.signatures[:number]

    def prevailing(self, bars: int) -> float:
        """Return the tempo of the first bars that holds for half of them, in beats per minute."""
        return _median(self.tempos[:bars])

    def _bar_ids(self, tables: PartsTables, count: int, prevailing: float) -> NDArray[np.int64]:
        ids = np.full((count, 6), -1, dtype=np.int64)
        ids[:, 0] = tables.first[PartsKind.Bar]
        signature = tables.ids[PartsKind.TimeSig][self.signatures[:count]]
        tempo = tables.nearest_ratios(self.tempos[:count] / prevailing)
        ids[:, 1] = np.where(signature != np.concatenate([[tables.common_time], signature[:-1]]), signature, -1)
        ids[:, 2] = np.where(tempo != np.concatenate([[tables.steady], tempo[:-1]]), tempo, -1)
        return ids


def encode_parts(score: Score, tables: PartsTables) -> NDArray[np.int64]:
    """Encode a score as (T,) ids; its style is "any"."""
    return PartsEvents.of(score, tables).ids(tables)


def players(score: Score) -> Iterator[tuple[int, Track]]:
    """Yield the tracks with notes and their players. All drums are one player; the tracks of any other program are its
    parts, in their order."""
    parts: dict[int, int] = {}
    for track in score.tracks:
        if len(track.notes):
            program = DRUM_KIT if track.is_drum else int(track.program)
            part = parts.setdefault(program, 0)
            yield program * PARTS + (0 if track.is_drum else min(part, PARTS - 1)), track
            parts[program] += 1


def _events(score: Score) -> NDArray[np.int64]:
    """Return (N, 6) events; the pedals of a program are those of all its tracks."""
    scale = TICKS / score.ticks_per_quarter
    found = [np.zeros((0, 6), dtype=np.int64)]
    programs: dict[int, list[Any]] = {}
    for player, track in players(score):
        notes = clean_notes(track)
        length = np.maximum(np.rint(notes["duration"] * scale), 1)
        found.append(_columns(notes["time"] * scale, _NOTE, player, notes["pitch"], length, notes["velocity"]))
        programs.setdefault(player // PARTS, []).append(track)
    for program, tracks in programs.items():
        spans = np.rint(np.array(held_spans(tracks), dtype=np.float64).reshape(-1, 2) * scale)
        spans = spans[spans[:, 1] > spans[:, 0]]
        for kind, at in ((_DOWN, spans[:, 0]), (_UP, spans[:, 1])):
            found.append(_columns(at, kind, program * PARTS, 0, 0, 0))
    return np.concatenate(found)


def _columns(start: NDArray[np.float64], *others: Any) -> NDArray[np.int64]:
    """Return columns of events; numbers apply to all."""
    table = np.zeros((len(start), 6), dtype=np.int64)
    table[:, 0] = np.rint(start)
    for place, column in enumerate(others, 1):
        table[:, place] = column
    return table


def _without_overlaps(events: NDArray[np.int64], tables: PartsTables) -> NDArray[np.int64]:
    """Round the lengths of notes to those of the vocabulary, such that none lasts into the next one of its pitch and
    player; of two that begin together the first is kept."""
    events = events[np.lexsort((events[:, 0], events[:, 3], events[:, 2], events[:, 1]))]
    kept = np.ones(len(events), dtype=bool)
    kept[1:] = (events[1:, :4] != events[:-1, :4]).any(axis=1)
    events = events[kept]
    gap = np.full(len(events), np.iinfo(np.int32).max)
    same = (events[1:, 1:4] == events[:-1, 1:4]).all(axis=1)
    gap[:-1][same] = np.diff(events[:, 0])[same]
    known = tables.ticks[tables.nearest_durations(events[:, 4].astype(np.float64))]
    fitting = tables.ticks[tables.longest_durations(gap)]
    events[:, 4] = np.where(events[:, 1] == _NOTE, np.minimum(known, fitting), 0)
    return events


def _bars(score: Score, end: int) -> Bars:
    """Return the bar lines (B,) up to tick `end`, on a grid of eighths, and the indices (B,) of their time signatures.

    A bar ends where another time signature begins, and one of more than 16 eighths is divided.
    """
    scale = TICKS / score.ticks_per_quarter
    found = [
        (round(one.time * scale / _EIGHTH), one.numerator, one.denominator)
        for one in sorted(rewrite_time_signatures(score, SIGNATURES), key=lambda one: int(one.time))
    ]
    if not found or found[0][0] > 0:
        found.insert(0, (0, 4, 4))
    stop = end // _EIGHTH + 1
    lines: list[int] = []
    signatures: list[int] = []
    for (at, beats, unit), following in pairwise([*found, (stop, 4, 4)]):
        full = max(1, round(8 * beats / unit))
        last = following[0] >= stop
        reach = min(following[0], stop)
        while at < reach:
            length = full if last else min(full, reach - at)
            for part in _divided(length):
                lines.append(at)
                exact = part == full and (beats, unit) in SIGNATURES
                signatures.append(SIGNATURES.index((beats, unit)) if exact else _signature(part))
                at += part
    kept = int(np.searchsorted(lines, stop, side="left"))
    return np.array(lines[:kept], dtype=np.int64) * _EIGHTH, np.array(signatures[:kept], dtype=np.int64)


def _divided(eighths: int) -> list[int]:
    """Return the bars of at most 16 eighths into which a longer one is divided."""
    whole, rest = divmod(eighths, 8)
    return [eighths] if eighths <= _LONGEST_BAR else [8] * whole + [rest] * (rest > 0)


def _signature(eighths: int) -> int:
    """Return the index of the time signature of a bar that lasts so many eighths: over 4 if it fills quarters."""
    return SIGNATURES.index((eighths // 2, 4) if eighths % 2 == 0 else (eighths, 8))


def prevailing_tempo(score: Score, bars: Bars) -> float:
    """Return `PartsEvents.prevailing` of all of some bars."""
    return _median(_bar_tempos(score, *bars))


def _median(tempos: NDArray[np.float64]) -> float:
    """Return the lower median, which is one of the tempos."""
    return float(np.sort(tempos)[(len(tempos) - 1) // 2]) if len(tempos) else 120.0


def _bar_tempos(score: Score, lines: NDArray[np.int64], signatures: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean beats per minute (B,) of each bar."""
    lengths = np.array([TICKS * 4 * beats // unit for beats, unit in SIGNATURES])[signatures]
    tempo, scale = TempoMap(score), score.ticks_per_quarter / TICKS
    seconds = tempo.seconds((lines + lengths) * scale) - tempo.seconds(lines * scale)
    return np.asarray(60.0 * lengths / TICKS / np.maximum(seconds, 1e-6))


def _event_ids(tables: PartsTables, events: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids (N, 6) of events at positions `places`, -1 where there is none."""
    tick, kind, player, pitch, ticks, velocity = events.T
    ids = np.full((len(events), 6), -1, dtype=np.int64)
    program, part = np.divmod(player, PARTS)
    note, drum = kind == _NOTE, program == DRUM_KIT
    moved = np.ones(len(events), dtype=bool)
    moved[1:] = np.diff(tick) != 0
    ids[:, 0] = np.where(moved, tables.first[PartsKind.Position] + places, -1)
    other = np.ones(len(events), dtype=bool)
    other[1:] = np.diff(program) != 0
    ids[:, 1] = np.where(other, tables.first[PartsKind.Program] + program, -1)
    before = np.concatenate([[0], part[:-1]])
    ids[:, 2] = np.where(part != np.where(other, 0, before), tables.first[PartsKind.Part] + part, -1)
    first = np.where(drum, tables.first[PartsKind.PitchDrum], tables.first[PartsKind.Pitch])
    pedal = np.where(kind == _UP, tables.first[PartsKind.PedalOff], tables.first[PartsKind.Pedal])
    ids[:, 3] = np.where(note, first + pitch, pedal)
    level = tables.velocities(velocity)
    at = np.flatnonzero(note)
    at = at[np.argsort(player[at], kind="stable")]
    changed = np.ones(len(at), dtype=bool)
    changed[1:] = (np.diff(player[at]) != 0) | (np.diff(level[at]) != 0)
    ids[at[changed], 4] = level[at[changed]]
    ids[:, 5] = np.where(note & ~drum, tables.nearest_durations(ticks.astype(np.float64)), -1)
    return ids


def decode_parts(ids: NDArray[np.int64], tables: PartsTables) -> Score:
    """Decode (T,) complete ids. A pedal that is not released is released at the end, and a program without notes is
    left out."""
    from symusic import Note, Pedal, Score, Tempo, TimeSignature, Track

    reading = PartsReading(ids, tables)
    score = Score(TICKS)
    for tick, index in reading.signatures():
        score.time_signatures.append(TimeSignature(tick, *SIGNATURES[index]))
    for tick, beats_per_minute in reading.tempos():
        score.tempos.append(Tempo(tick, beats_per_minute))
    notes = reading.notes
    end = int((notes.tick + notes.ticks).max(initial=0))
    pedals = reading.pedals(end)
    for player in sorted(set(notes.player.tolist())):
        program, part = divmod(player, PARTS)
        drums, own = program == DRUM_KIT, notes.player == player
        name = program_name(-1 if drums else program) + (f" {part + 1}" if part else "")
        track = Track(program=0 if drums else program, is_drum=drums, name=name)
        track.notes = Note.from_numpy(
            *(column[own].astype(np.int32) for column in (notes.tick, notes.ticks)),
            *(column[own].astype(np.int8) for column in (notes.pitch, notes.velocity)),
        )
        for start, stop in pedals.get(program, []):
            track.pedals.append(Pedal(start, stop - start))
        score.tracks.append(track)
    return score
