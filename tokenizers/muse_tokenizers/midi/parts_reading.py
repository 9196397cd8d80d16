"""Places and notes of ids in parts. `PartsGrammar` computes the same step by step, for many candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.parts_vocabulary import DRUM_KIT, DRUM_TICKS, PARTS, SIGNATURES, PartsKind, PartsTables

__all__ = ["DEFAULT_VELOCITY", "PartsNotes", "PartsReading"]

DEFAULT_TEMPO = 120.0
DEFAULT_VELOCITY = 63
"""Velocity of notes before the first velocity of their player."""


@dataclass(frozen=True, slots=True)
class PartsNotes:
    """The complete notes of some ids, (N,) each."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    """Indices of the first and the last id of each note."""
    tick: NDArray[np.int64]
    ticks: NDArray[np.int64]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]
    player: NDArray[np.int64]


class PartsReading:
    """Ids with their places.

    Attributes:
        ids: (T,) ids.
        kind: (T,) their `PartsKind`.
        bar: (T,) bar, counted from 1; 0 before the first.
        lines: (B,) tick of each bar line.
        tick: (T,) tick.
        position: (T,) position in the bar.
        player: (T,) current player, -1 before the first.
        signature: (T,) current time signature, as an index in `SIGNATURES`.
        base: Beats per minute of the header.
        notes: Its complete notes.
    """

    def __init__(self, ids: NDArray[np.int64], tables: PartsTables) -> None:
        self.ids, self._tables = ids, tables
        self.kind = kind = tables.kind[ids]
        number = tables.number[ids]
        self.signature = np.where(
            (at := _latest(kind == PartsKind.TimeSig)) < 0, SIGNATURES.index((4, 4)), number[np.maximum(at, 0)]
        ).astype(np.int64)
        is_bar = kind == PartsKind.Bar
        self.bar = np.cumsum(is_bar)
        begins = np.flatnonzero(is_bar)
        # A time signature follows the line of its bar: the one that a bar has is that of its last id.
        lengths = tables.ticks[tables.ids[PartsKind.TimeSig]][self.signature[begins[1:] - 1]]
        self.lines = np.concatenate([[0], np.cumsum(lengths)])[: max(len(begins), 0)].astype(np.int64)
        moved = _latest(is_bar | (kind == PartsKind.Position))
        there = np.maximum(moved, 0)
        self.position = np.where((moved >= 0) & (kind[there] == PartsKind.Position), number[there], 0)
        starts = self.lines[np.maximum(self.bar - 1, 0)] if len(self.lines) else np.zeros(len(ids), dtype=np.int64)
        self.tick = starts + self.position
        named = kind == PartsKind.Program
        program, part = _latest(named), _latest(named | (kind == PartsKind.Part))
        own_part = np.where(kind[np.maximum(part, 0)] == PartsKind.Part, number[np.maximum(part, 0)], 0)
        self.player = np.where(program < 0, -1, number[np.maximum(program, 0)] * PARTS + own_part)
        bases = ids[kind == PartsKind.BaseTempo]
        self.base = float(tables.beats_per_minute[bases[0]]) if len(bases) else DEFAULT_TEMPO
        self.notes = self._notes()

    def _notes(self) -> PartsNotes:
        kind, tables = np.concatenate([self.kind, [PartsKind.PAD, PartsKind.PAD]]), self._tables
        first = np.flatnonzero((self.kind == PartsKind.Pitch) | (self.kind == PartsKind.PitchDrum))
        loud = kind[first + 1] == PartsKind.Velocity
        drum = kind[first] == PartsKind.PitchDrum
        last = first + loud + ~drum
        complete = drum | (kind[np.minimum(last, len(self.ids))] == PartsKind.Duration)
        first, last, loud, drum = first[complete], last[complete], loud[complete], drum[complete]
        player = np.where(drum, DRUM_KIT * PARTS, np.maximum(self.player[first], 0))
        pitch = tables.number[self.ids[first]]
        ticks = np.where(drum, _until_struck_again(self.tick[first], pitch, drum), tables.ticks[self.ids[last]])
        return PartsNotes(
            first=first,
            last=last,
            tick=self.tick[first],
            ticks=ticks,
            pitch=pitch,
            velocity=self._velocities(first, loud, player),
            player=player,
        )

    def _velocities(
        self, first: NDArray[np.int64], loud: NDArray[np.bool_], player: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the velocity of each note: its own, or that of the previous note of its player."""
        order = np.argsort(player, kind="stable")
        own = np.flatnonzero(loud[order])
        since = np.searchsorted(own, np.arange(len(order)), side="right") - 1
        source = order[own[np.maximum(since, 0)]] if len(own) else np.zeros(len(order), dtype=np.int64)
        known = (since >= 0) & (player[source] == player[order]) if len(own) else np.zeros(len(order), dtype=bool)
        found = np.empty(len(order), dtype=np.int64)
        following = self.ids[np.minimum(first[source] + 1, len(self.ids) - 1)] if len(order) else source
        found[order] = np.where(known, self._tables.number[following], DEFAULT_VELOCITY)
        return found

    @property
    def whole_bars(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the lines of all bars but the last, and the indices of their time signatures in `SIGNATURES`."""
        last = np.flatnonzero(self.kind == PartsKind.Bar)[1:] - 1
        return self.lines[:-1], self.signature[last]

    def signatures(self) -> list[tuple[int, int]]:
        """Return the time signatures as (tick, index in `SIGNATURES`), without repetitions."""
        at = np.flatnonzero(self.kind == PartsKind.TimeSig)
        found = list(zip(self.tick[at].tolist(), self.signature[at].tolist(), strict=True))
        if len(self.lines) and (not found or found[0][0] > 0):
            found.insert(0, (0, SIGNATURES.index((4, 4))))
        return found

    def tempos(self) -> list[tuple[int, float]]:
        """Return the tempos as (tick, beats per minute), the first of them at 0."""
        at = np.flatnonzero(self.kind == PartsKind.Tempo)
        ratios = self._tables.ratio[self.ids[at]] * self.base
        found = list(zip(self.tick[at].tolist(), ratios.tolist(), strict=True))
        return found if found and found[0][0] == 0 else [(0, self.base), *found]

    def pedals(self, end: int) -> dict[int, list[tuple[int, int]]]:
        """Return the ticks between which the pedal of each program is down; one that is not released is released at
        `end`."""
        found: dict[int, list[tuple[int, int]]] = {}
        down: dict[int, int] = {}
        for index in np.flatnonzero((self.kind == PartsKind.Pedal) | (self.kind == PartsKind.PedalOff)).tolist():
            program, tick = max(int(self.player[index]), 0) // PARTS, int(self.tick[index])
            if self.kind[index] == PartsKind.Pedal:
                down.setdefault(program, tick)
            elif program in down and tick > down[program]:
                found.setdefault(program, []).append((down.pop(program), tick))
        for program, tick in down.items():
            if end > tick:
                found.setdefault(program, []).append((tick, end))
        return found


def _until_struck_again(
    tick: NDArray[np.int64], pitch: NDArray[np.int64], drum: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the lengths of drum notes: a 16th, or less if the drum is struck again; of other notes they mean
    nothing."""
    order = np.lexsort((tick, pitch, drum))
    again = np.diff(pitch[order]) == 0
    gap = np.full(len(order), DRUM_TICKS)
    gap[:-1][again] = np.clip(np.diff(tick[order])[again], 1, DRUM_TICKS)
    ticks = np.empty(len(order), dtype=np.int64)
    ticks[order] = gap
    return ticks


def _latest(among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the index of the last true item up to each, -1 before the first."""
    return np.maximum.accumulate(np.where(among, np.arange(len(among)), -1)) if len(among) else np.zeros(0, np.int64)
