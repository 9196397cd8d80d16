"""The grammar of scores in parts: which ids are allowed next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Ids, for_candidates
from muse_tokenizers.built_in import STYLES
from muse_tokenizers.midi.bars_grammar import NOTHING, BarsGrammar
from muse_tokenizers.midi.clock import Clock, Pace
from muse_tokenizers.midi.constraints import MidiConstraints, check_tempo, parse_instruments, parse_key
from muse_tokenizers.midi.parts_anchors import Anchors, players_replaced
from muse_tokenizers.midi.parts_reading import DEFAULT_VELOCITY, PartsReading
from muse_tokenizers.midi.parts_state import PartsState, loops_of, state_of
from muse_tokenizers.midi.parts_vocabulary import (
    DRUM_KIT,
    DRUM_TICKS,
    PARTS,
    PLAYERS,
    TICKS,
    WHOLE,
    PartsKind,
    PartsTables,
)

__all__ = ["PartsGrammar"]

_BETWEEN = {PartsKind.Bar, PartsKind.Position, PartsKind.Program, PartsKind.Part, PartsKind.EOS}
_EVENTS = {PartsKind.PedalOff, PartsKind.Pedal, PartsKind.Pitch, PartsKind.PitchDrum}
_FOLLOWING: dict[PartsKind, set[PartsKind]] = {
    PartsKind.PAD: {PartsKind.PAD},
    PartsKind.EOS: {PartsKind.PAD},
    PartsKind.BOS: {PartsKind.Origin},
    PartsKind.Origin: {PartsKind.Style},
    PartsKind.Style: {PartsKind.BaseTempo},
    PartsKind.BaseTempo: {PartsKind.Bar},
    PartsKind.Bar: {PartsKind.TimeSig, PartsKind.Tempo, PartsKind.Bar, PartsKind.Position, PartsKind.EOS},
    PartsKind.TimeSig: {PartsKind.Tempo, PartsKind.Bar, PartsKind.Position, PartsKind.EOS},
    PartsKind.Tempo: {PartsKind.Bar, PartsKind.Position, PartsKind.EOS},
    PartsKind.Position: {PartsKind.Program, PartsKind.Part} | _EVENTS,
    PartsKind.Program: {PartsKind.Part} | _EVENTS,
    PartsKind.Part: _EVENTS,
    PartsKind.PedalOff: _BETWEEN | _EVENTS,
    PartsKind.Pedal: _BETWEEN | _EVENTS,
    PartsKind.Pitch: {PartsKind.Velocity, PartsKind.Duration},
    PartsKind.PitchDrum: {PartsKind.Velocity} | _BETWEEN | _EVENTS,
    PartsKind.Velocity: {PartsKind.Duration} | _BETWEEN | _EVENTS,
    PartsKind.Duration: _BETWEEN | _EVENTS,
    PartsKind.Prefix: set(),
    PartsKind.Suffix: set(),
    PartsKind.Middle: set(),
}
"""Kinds that may follow a kind."""

_PITCHES = (PartsKind.Pitch, PartsKind.PitchDrum)
_COMPLETE = (*WHOLE, PartsKind.EOS)
"""Kinds after which the score is complete; after the velocity of a drum it is too."""


class PartsGrammar(BarsGrammar):
    """The grammar of C scores; see `Grammar`.

    Positions ascend inside a bar and stay inside its time signature; a pitch begins only if it does not sound for that
    player, so there are no duplicates; a player, a velocity, a tempo or a time signature is named only where it
    changes; drum pitches are allowed only on the drum kit; a pedal is pressed when up and released when down; parts of
    a program enter in their order.
    """

    _end = int(PartsKind.EOS)
    _before_first_bar = (PartsKind.BaseTempo,)
    _before_pitch = tuple(kind for kind in PartsKind if _FOLLOWING[kind] & {*_PITCHES})
    _names_player = (PartsKind.Program, PartsKind.Part)

    _tables: PartsTables
    _state: PartsState
    _style: int | None = None
    """The id of the requested style."""

    def __init__(
        self,
        tables: PartsTables,
        prompt: NDArray[np.int64],
        candidates: int,
        constraints: MidiConstraints,
        clock: Clock | None = None,
    ) -> None:
        self._tables = tables
        self._follow = np.zeros((len(PartsKind), len(tables.kind)), dtype=bool)
        for kind, after in _FOLLOWING.items():
            self._follow[kind] = np.isin(tables.kind, sorted(after))
        reading = PartsReading(prompt, tables)
        state = state_of(reading, tables)
        heard = state.heard_players[0].copy()
        # Notes are counted from the split point on.
        self._prompted = bool(state.notes[0])
        self._state = for_candidates(state, candidates)
        watch = loops_of(reading)
        self._loops = [watch.from_here() for _ in range(candidates)]
        self._rows = np.arange(candidates)
        self.complete = np.repeat(np.isin(state.kind, _COMPLETE), candidates)
        self.finished, self.elapsed = np.zeros(candidates, dtype=bool), np.zeros(candidates)
        self._constrain(constraints, heard)
        self._scale = 1.0 if clock is None else clock.scale
        self._set_tempo(constraints, clock)
        per_tick = float(self._state.seconds_per_tick[0])
        self._anchors = Anchors(constraints.hold, tables, reading, per_tick, candidates)
        if constraints.style is not None:
            self._style = tables.first[PartsKind.Style] + STYLES.index(constraints.style)

    def _constrain(self, constraints: MidiConstraints, heard: NDArray[np.bool_]) -> None:
        self._players = np.ones(PLAYERS, dtype=bool)
        self._new_parts = True
        if constraints.instruments:
            programs = {program % (DRUM_KIT + 1) for program in parse_instruments(constraints.instruments)}
            self._players[:] = np.isin(np.arange(PLAYERS) // PARTS, sorted(programs))
        elif constraints.keep_instruments and self._prompted:
            self._players[:], self._new_parts = heard, False
        self._restricted = not self._players.all()
        # The drum kit has no parts.
        self._players[DRUM_KIT * PARTS + 1 :] = False
        self._drums = np.arange(PLAYERS) // PARTS == DRUM_KIT
        pitches = np.ones((PLAYERS, 128), dtype=bool)
        if constraints.key is not None:
            pitches[~self._drums] = np.isin(np.arange(128) % 12, sorted(parse_key(constraints.key)))
        self._set_pitches(pitches)
        self._set_limits(constraints)

    def _set_tempo(self, constraints: MidiConstraints, clock: Clock | None) -> None:
        tables, state = self._tables, self._state
        known = tables.ids[PartsKind.Tempo]
        self._tempos = np.full(len(known), constraints.tempo is None)
        self._bases = np.ones(len(tables.ids[PartsKind.BaseTempo]), dtype=bool)
        self._due = tables.steady
        if constraints.tempo is not None:
            check_tempo(constraints.tempo)
            self._bases[:] = tables.ids[PartsKind.BaseTempo] == tables.nearest_base(constraints.tempo)
        if clock is None or clock.pace is None:
            return
        pace, base = clock.pace, float(state.base[0]) * clock.scale
        true = constraints.tempo or pace.prevailing
        self._due = int(tables.nearest_ratios(np.array([true / base]))[0])
        state.seconds_per_tick[:] = clock.per_tick_at(clock.split_point)
        if constraints.tempo is None and constraints.keep_tempo:
            tempos = tables.ratio[known] * base
            self._tempos = _inside(pace, tempos) | (known == self._due)
        if constraints.tempo is not None or constraints.keep_tempo:
            state.tempo_due[:] = (state.ratio != self._due) & (state.kind == PartsKind.Bar)

    def allowed(self) -> NDArray[np.bool_]:
        tables, state = self._tables, self._state
        mask: NDArray[np.bool_] = self._follow[state.kind]
        mask[:, tables.ids[PartsKind.EOS]] &= ((state.notes > 0) & (not self._has_requested_length))[:, None]
        self._restrict_bars(mask)
        self._restrict_events(mask)
        if self._repeats is not None:
            self._break_loops(mask)
        if state.tempo_due.any():
            # The tempo applies from the split point on.
            mask[state.tempo_due] = False
            mask[state.tempo_due, self._due] = True
        if self.finished.any():
            mask[self.finished] = False
            mask[self.finished, tables.ids[PartsKind.PAD]] = True
        return mask[:, None, :]

    def _restrict_bars(self, mask: NDArray[np.bool_]) -> None:
        """Restrict tempos, time signatures, positions and bars. mask is (C, V), changed in place."""
        tables, state, rows = self._tables, self._state, self._rows
        mask[:, tables.ids[PartsKind.BaseTempo]] &= self._bases
        if self._style is not None:
            mask[:, tables.ids[PartsKind.Style]] &= tables.ids[PartsKind.Style] == self._style
        mask[:, tables.ids[PartsKind.Tempo]] &= self._tempos
        mask[rows, state.ratio] = False
        mask[rows, state.signature] = False
        later = np.arange(len(tables.ids[PartsKind.Position]))
        inside = (later > state.position[:, None]) & (later < state.bar_ticks[:, None])
        room = self._room()
        if room is not None:
            inside &= later <= room[:, None]
            # The first bar begins at 0.
            fits = (state.bar_ticks <= room) | (state.kind == PartsKind.BaseTempo)
            mask[:, tables.ids[PartsKind.Bar]] &= fits[:, None]
        mask[:, tables.ids[PartsKind.Position]] &= inside

    def _restrict_events(self, mask: NDArray[np.bool_]) -> None:
        """Restrict players, pitches, velocities and pedals. mask is (C, V), changed in place."""
        tables, state, rows = self._tables, self._state, self._rows
        ids, player = tables.ids, np.maximum(state.player, 0)
        known = state.player >= 0
        program, part = player // PARTS, player % PARTS
        drums = (self._drums[player] & known)[:, None]
        playable, free = self._playable(), self._free_pitches()
        mask[:, ids[PartsKind.Pitch]] &= free & ~drums
        mask[:, ids[PartsKind.PitchDrum]] &= free & drums
        programs: NDArray[np.bool_] = np.any(playable.reshape(len(rows), -1, PARTS), axis=2)
        programs[rows[known], program[known]] = False
        mask[:, ids[PartsKind.Program]] &= programs
        others = playable[rows[:, None], program[:, None] * PARTS + np.arange(PARTS)] & (known[:, None] & ~drums)
        others[rows, part] = False
        mask[:, ids[PartsKind.Part]] &= others
        pedalled = known & self._players[player] & ~drums[:, 0]
        pressed = state.pressed[rows, program]
        mask[:, ids[PartsKind.Pedal]] &= (pedalled & (pressed == NOTHING))[:, None]
        # A pedal that is released at the tick of its press would have no length, and would never be released in a file.
        mask[:, ids[PartsKind.PedalOff]] &= (pedalled & (pressed != NOTHING) & (pressed < state.now))[:, None]
        level = state.velocity[rows, player]
        mask[rows[level >= 0], level[level >= 0]] = False
        # The first note of a player has a velocity, and after one follows what follows a note.
        struck = np.isin(state.kind, _PITCHES) & (level < 0)
        if struck.any():
            mask[struck] &= tables.kind == PartsKind.Velocity
        loud = state.kind == PartsKind.Velocity
        if loud.any():
            mask[:, ids[PartsKind.Duration]] &= ~(loud & drums[:, 0])[:, None]
            mask[loud & ~drums[:, 0]] &= tables.kind == PartsKind.Duration

    def _playable(self) -> NDArray[np.bool_]:
        playable = super()._playable()
        if self._new_parts:
            entered = self._state.heard_players.reshape(len(playable), -1, PARTS)
            allowed = entered.copy()
            allowed[:, :, 0] = True
            allowed[:, :, 1:] |= entered[:, :, :-1]
            playable &= allowed.reshape(len(playable), -1)
        return playable

    def bias(self, logits: NDArray[np.float32], allowed: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        found = self._anchors.bias(self._state)
        replaced = players_replaced(logits[:, 0], allowed[:, 0], self._tables) if self._restricted else None
        both = [one for one in (found, replaced) if one is not None]
        return sum(both[1:], start=both[0])[:, None] if both else None

    def _is_complete(self, kind: NDArray[np.int64]) -> NDArray[np.bool_]:
        drums = self._drums[np.maximum(self._state.player, 0)]
        complete: NDArray[np.bool_] = np.isin(kind, _COMPLETE) | ((kind == PartsKind.Velocity) & drums)
        return complete

    def _family(self, player: int) -> Ids:
        return self._tables.ids[PartsKind.PitchDrum if player // PARTS == DRUM_KIT else PartsKind.Pitch]

    def _take_base(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.base[rows] = self._tables.beats_per_minute[ids]
        self._set_pace(rows)

    def _take_tempo(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.ratio[rows] = ids
        self._state.tempo_due[rows] = False
        self._set_pace(rows)

    def _set_pace(self, rows: NDArray[np.int64]) -> None:
        state = self._state
        tempos = state.base[rows] * self._tables.ratio[state.ratio[rows]] * self._scale
        # As in the file: MIDI stores integer microseconds per quarter.
        state.seconds_per_tick[rows] = np.rint(60e6 / tempos) / 1e6 / TICKS

    def _take_time_signature(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.signature[rows] = ids
        self._state.bar_ticks[rows] = self._tables.ticks[ids]

    def _take_position(self, rows: NDArray[np.int64], ids: Ids) -> None:
        state = self._state
        state.position[rows] = self._tables.number[ids]
        self._move_to(rows, state.bar_start[rows] + state.position[rows])

    def _move_to(self, rows: NDArray[np.int64], tick: NDArray[Any]) -> None:
        self._anchors.waited(rows, (tick - self._state.now[rows]) * self._state.seconds_per_tick[rows])
        super()._move_to(rows, tick)

    def _take_program(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.player[rows] = self._tables.number[ids] * PARTS

    def _take_part(self, rows: NDArray[np.int64], ids: Ids) -> None:
        state = self._state
        state.player[rows] = state.player[rows] // PARTS * PARTS + self._tables.number[ids]

    def _take_pedal(self, rows: NDArray[np.int64], _: Ids) -> None:
        self._state.pressed[rows, self._state.player[rows] // PARTS] = self._state.now[rows]

    def _take_pedal_off(self, rows: NDArray[np.int64], _: Ids) -> None:
        self._state.pressed[rows, self._state.player[rows] // PARTS] = NOTHING

    def _take_pitch(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.pitch[rows] = self._tables.number[ids]

    def _take_drum(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._take_pitch(rows, ids)
        # A drum can be struck again at the next tick, but is heard for longer.
        self._sound(rows, np.ones(len(rows), dtype=np.int64))
        self._state.heard[rows] = np.maximum(self._state.heard[rows], self._state.now[rows] + DRUM_TICKS)

    def _take_velocity(self, rows: NDArray[np.int64], ids: Ids) -> None:
        state = self._state
        player = state.player[rows]
        # A drum has been struck before its velocity is known.
        drums = self._drums[player] & (state.velocity[rows, player] != NOTHING)
        louder = self._tables.number[ids] - self._tables.number[state.velocity[rows, player]]
        self._anchors.corrected(rows[drums], player[drums], louder[drums])
        state.velocity[rows, player] = ids

    def _take_duration(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._sound(rows, self._tables.ticks[ids])

    def _sound(self, rows: NDArray[np.int64], ticks: NDArray[np.int64]) -> None:
        super()._sound(rows, ticks)
        state = self._state
        player = state.player[rows]
        state.heard_players[rows, player] = True
        levels = state.velocity[rows, player]
        velocities = np.where(levels == NOTHING, DEFAULT_VELOCITY, self._tables.number[levels])
        self._anchors.struck(rows, player, velocities, state.pitch[rows])


def _inside(pace: Pace, tempos: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (tempos >= pace.slowest) & (tempos <= pace.fastest)


PartsGrammar._steps = {
    int(PartsKind.BaseTempo): PartsGrammar._take_base,
    int(PartsKind.Bar): PartsGrammar._take_bar,
    int(PartsKind.TimeSig): PartsGrammar._take_time_signature,
    int(PartsKind.Tempo): PartsGrammar._take_tempo,
    int(PartsKind.Position): PartsGrammar._take_position,
    int(PartsKind.Program): PartsGrammar._take_program,
    int(PartsKind.Part): PartsGrammar._take_part,
    int(PartsKind.PedalOff): PartsGrammar._take_pedal_off,
    int(PartsKind.Pedal): PartsGrammar._take_pedal,
    int(PartsKind.Pitch): PartsGrammar._take_pitch,
    int(PartsKind.PitchDrum): PartsGrammar._take_drum,
    int(PartsKind.Velocity): PartsGrammar._take_velocity,
    int(PartsKind.Duration): PartsGrammar._take_duration,
}
