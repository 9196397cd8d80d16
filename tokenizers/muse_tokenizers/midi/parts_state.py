"""The state of scores in parts that are generated step by step, and its value at the end of a prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.bars_grammar import NOTHING, BarsState
from muse_tokenizers.midi.loops import REACH, LoopWatch
from muse_tokenizers.midi.parts_reading import PartsReading
from muse_tokenizers.midi.parts_vocabulary import DRUM_KIT, PARTS, PLAYERS, TICKS, PartsKind, PartsTables

__all__ = ["PartsState", "loops_of", "state_of"]


@dataclass(slots=True, kw_only=True)
class PartsState(BarsState):
    """State of C scores: arrays over the candidates."""

    signature: NDArray[np.int64]
    """(C,) id of the time signature."""
    ratio: NDArray[np.int64]
    """(C,) id of the tempo."""
    base: NDArray[np.float64]
    """(C,) base tempo in beats per minute."""
    heard_players: NDArray[np.bool_]
    """(C, players) who has played."""
    velocity: NDArray[np.int64]
    """(C, players) id of the last velocity; -1 before the first."""


def state_of(reading: PartsReading, tables: PartsTables) -> PartsState:
    """Return the state of one candidate after the ids of a prompt."""
    ids, notes = reading.ids, reading.notes
    until = np.zeros((1, PLAYERS, 128), dtype=np.int32)
    # A drum can be struck again at the next tick.
    ends = notes.tick + np.where(notes.player // PARTS == DRUM_KIT, 1, notes.ticks)
    np.maximum.at(until[0], (notes.player, notes.pitch), ends.astype(np.int32))
    now, bar = int(reading.tick[-1]), int(reading.bar[-1])
    begins = np.flatnonzero((reading.kind == PartsKind.Bar) | (reading.kind == PartsKind.Position))
    placed = len(begins) > 0 and reading.kind[begins[-1]] == PartsKind.Position
    pressed = np.full((1, DRUM_KIT + 1), NOTHING, dtype=np.int64)
    for index in np.flatnonzero((reading.kind == PartsKind.Pedal) | (reading.kind == PartsKind.PedalOff)).tolist():
        down = reading.kind[index] == PartsKind.Pedal
        pressed[0, max(int(reading.player[index]), 0) // PARTS] = reading.tick[index] if down else NOTHING
    velocity = np.full((1, PLAYERS), NOTHING, dtype=np.int64)
    for index in np.flatnonzero(reading.kind == PartsKind.Velocity).tolist():
        velocity[0, max(int(reading.player[index]), 0)] = ids[index]
    heard = np.zeros((1, PLAYERS), dtype=bool)
    heard[0, notes.player] = True
    tempos = ids[reading.kind == PartsKind.Tempo]
    signature = tables.ids[PartsKind.TimeSig][reading.signature[-1]]
    pitches = ids[(reading.kind == PartsKind.Pitch) | (reading.kind == PartsKind.PitchDrum)]
    ratio = int(tempos[-1]) if len(tempos) else tables.steady
    return PartsState(
        kind=reading.kind[-1:].copy(),
        player=reading.player[-1:].copy(),
        position=np.array([int(reading.position[-1]) if placed else NOTHING]),
        bar_start=np.array([int(reading.lines[bar - 1]) if bar else 0]),
        bar_ticks=tables.ticks[[signature]],
        signature=np.array([signature]),
        ratio=np.array([ratio]),
        base=np.array([reading.base]),
        seconds_per_tick=np.array([60.0 / (reading.base * float(tables.ratio[ratio])) / TICKS]),
        now=np.array([now]),
        until=until,
        sounding=(until > now).sum(axis=2),
        heard_players=heard,
        velocity=velocity,
        pressed=pressed,
        pitch=tables.number[pitches[-1:]] if len(pitches) else np.zeros(1, dtype=np.int64),
        bars=np.array([int(reading.kind[-1] == PartsKind.Bar)]),
        notes=np.array([len(notes.first)]),
        tempo_due=np.zeros(1, dtype=bool),
        heard=np.array([int((notes.tick + notes.ticks).max(initial=0))]),
        quiet=np.zeros(1),
    )


def loops_of(reading: PartsReading) -> LoopWatch:
    """Return the watch over the last bars of the ids of a prompt."""
    watch = LoopWatch()
    notes, bars = reading.notes, len(reading.lines)
    bar = reading.bar[notes.first]
    for number in range(max(0, bars - REACH - 1), bars + 1):
        for note in np.flatnonzero(bar == number).tolist():
            position = int(notes.tick[note]) - int(reading.lines[number - 1])
            watch.strike(position, int(notes.player[note]), int(notes.pitch[note]))
        if number < bars:
            watch.next_bar(None)
    return watch
