"""The REMI vocabulary as arrays: ticks, pitches, programs and tempos of each id.

Ticks are those of MidiTok's decoder: `positions_per_beat` per beat of the shortest unit among the signatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.clock import Clock
from muse_tokenizers.midi.configuration import MidiConfiguration
from muse_tokenizers.midi.vocabulary import Vocabulary

__all__ = ["DEFAULT_TEMPO", "PROGRAMS", "Kind", "RemiPlaces", "RemiTables"]

PROGRAMS = 129
"""Number of programs by index: the drum kit, MidiTok's -1, is 0; program p is p + 1."""

DEFAULT_TEMPO = 120.0


class Kind(IntEnum):
    """Kinds of REMI ids, by MidiTok's names."""

    PAD = 0
    BOS = 1
    EOS = 2
    Bar = 3
    TimeSig = 4
    Position = 5
    Tempo = 6
    PedalOff = 7
    Pedal = 8
    Program = 9
    Pitch = 10
    PitchDrum = 11
    Velocity = 12
    Duration = 13


@dataclass(frozen=True, slots=True)
class RemiPlaces:
    """Positions of ids in their piece, (T,) each."""

    tick: NDArray[np.int64]
    bar: NDArray[np.int64]
    """Bar, counted from 1; 0 before the first."""
    position: NDArray[np.int64]
    """Position in the bar."""
    unit: NDArray[np.int64]
    """Unit of the beat: 0 for a quarter, 1 for an eighth."""
    program: NDArray[np.int64]
    """Index of the current program; -1 before the first."""


class RemiTables:
    """Arrays over the V ids of a REMI vocabulary.

    Attributes:
        kind: (V,) int64, a `Kind`.
        number: (V,) int64: pitch, velocity, position; program and pedals as an index below `PROGRAMS`.
        seconds_per_tick: (V,) float64, of a tempo.
        beats_per_minute: (V,) float64, of a tempo.
        bar_ticks, position_ticks, positions: (V,) int64, of a time signature.
        unit: (V,) int64, of a time signature: 0 where the beat is a quarter, 1 where it is an eighth.
        duration_ticks: (2, V) int64, of a duration under either unit.
        ids: the ids of each kind; for programs, pitches and pedals in the order of their numbers.
    """

    def __init__(self, configuration: MidiConfiguration, vocabulary: Vocabulary) -> None:
        size = len(vocabulary)
        grid = configuration.positions_per_beat
        finest = max(unit for _, unit in configuration.time_signatures)
        beat_ticks = {unit: grid * finest // unit for unit in (4, 8)}
        self.ticks_per_quarter = beat_ticks[4]
        self.default_seconds_per_tick = 60.0 / DEFAULT_TEMPO / self.ticks_per_quarter
        self.kind = np.array([Kind[kind] for kind in vocabulary.kinds], dtype=np.int64)
        self.number = np.zeros(size, dtype=np.int64)
        self.seconds_per_tick = np.zeros(size)
        self.beats_per_minute = np.zeros(size)
        self.bar_ticks = np.zeros(size, dtype=np.int64)
        self.position_ticks = np.zeros(size, dtype=np.int64)
        self.positions = np.zeros(size, dtype=np.int64)
        self.unit = np.zeros(size, dtype=np.int64)
        self.duration_ticks = np.zeros((2, size), dtype=np.int64)
        for i, (kind, value) in enumerate(zip(self.kind, vocabulary.values, strict=True)):
            if kind in (Kind.Position, Kind.Pitch, Kind.PitchDrum, Kind.Velocity):
                self.number[i] = int(value)
            elif kind in (Kind.Program, Kind.Pedal, Kind.PedalOff):
                self.number[i] = int(value) + 1
            elif kind == Kind.Tempo:
                self.beats_per_minute[i] = float(value)
                # As in the decoded score: MIDI stores integer microseconds per quarter.
                self.seconds_per_tick[i] = round(60e6 / float(value)) / 1e6 / self.ticks_per_quarter
            elif kind == Kind.TimeSig:
                beats, unit = (int(part) for part in value.split("/"))
                self.bar_ticks[i] = beats * beat_ticks[unit]
                self.position_ticks[i] = beat_ticks[unit] // grid
                self.positions[i] = beats * grid
                self.unit[i] = int(unit == 8)
            elif kind == Kind.Duration:
                beat, part, bins = (int(number) for number in value.split("."))
                for row, unit in enumerate((4, 8)):
                    self.duration_ticks[row, i] = (beat * bins + part) * beat_ticks[unit] // bins
        self.ids = {kind: self._sorted_ids(kind) for kind in Kind}
        self.common_time = np.int64(vocabulary.names.index("TimeSig_4/4"))

    def nearest_tempo(self, beats_per_minute: float) -> int:
        """Return the id of the nearest tempo."""
        known = self.ids[Kind.Tempo]
        return int(known[np.abs(self.beats_per_minute[known] - beats_per_minute).argmin()])

    def tempos_of(self, clock: Clock) -> NDArray[np.float64]:
        """Return the seconds per tick of each tempo id after the split point of a clock, (V,); 0 for other ids."""
        found = np.zeros_like(self.seconds_per_tick)
        known = self.ids[Kind.Tempo]
        found[known] = np.rint(60e6 / (self.beats_per_minute[known] * clock.scale)) / 1e6 / self.ticks_per_quarter
        return found

    def _sorted_ids(self, kind: Kind) -> NDArray[np.int64]:
        ids = np.flatnonzero(self.kind == kind)
        return ids[np.argsort(self.number[ids], kind="stable")]

    def places(self, ids: NDArray[np.int64]) -> RemiPlaces:
        """Return the position of each of (T,) ids, computed as in MidiTok's decoder.

        `RemiGrammar` computes the same step by step, for many candidates.
        """
        kind, here = self.kind[ids], np.arange(len(ids))
        signature = self._latest(ids, kind == Kind.TimeSig, int(self.common_time))
        program = self._latest(ids, kind == Kind.Program, -1)
        is_bar = kind == Kind.Bar
        bar = np.cumsum(is_bar)
        # The first bar begins at 0, every other at the end of the previous one. Everything before the first is at 0.
        lengths = self.bar_ticks[signature[is_bar]]
        lengths[:1] = 0
        starts = np.concatenate(([0], np.cumsum(lengths)))
        moved = np.maximum.accumulate(np.where(is_bar | (kind == Kind.Position), here, 0))
        position = self.number[ids[moved]] * (kind[moved] == Kind.Position)
        return RemiPlaces(
            tick=starts[bar[moved]] + position * self.position_ticks[signature[moved]],
            bar=bar,
            position=position,
            unit=self.unit[signature],
            program=np.where(program < 0, -1, self.number[program]),
        )

    def _latest(self, ids: NDArray[np.int64], among: NDArray[np.bool_], otherwise: int) -> NDArray[np.int64]:
        """Return the last of some of the ids up to each, (T,); `otherwise` before the first."""
        at = np.maximum.accumulate(np.where(among, np.arange(len(ids)), -1))
        return np.where(at < 0, otherwise, ids[at])

    def shorten_overlaps(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Shorten each note to end where its pitch begins again on the same instrument.

        Scores have no overlaps, but rounding to the lengths of the vocabulary can create them.
        """
        kind = self.kind[ids]
        places = self.places(ids)
        tick, unit, program = places.tick, places.unit, places.program
        at = np.flatnonzero((kind == Kind.Pitch) | (kind == Kind.PitchDrum))
        voice = program[at] * 128 + self.number[ids[at]]
        order = np.lexsort((tick[at], voice))
        at, voice = at[order], voice[order]
        length = self.duration_ticks[unit[at], ids[at + 2]]
        gap = np.where(voice[1:] == voice[:-1], np.diff(tick[at]), np.iinfo(np.int64).max)
        ids = ids.copy()
        for row, known in enumerate(self.duration_ticks[:, self.ids[Kind.Duration]]):
            by_length = np.argsort(known)
            late = np.flatnonzero((length[:-1] > gap) & (unit[at[:-1]] == row))
            fitting = np.searchsorted(known[by_length], gap[late], side="right") - 1
            ids[at[late] + 2] = self.ids[Kind.Duration][by_length[np.maximum(fitting, 0)]]
        return ids
