"""The grammar of REMI: which ids are allowed next.

MidiTok's token-type graph defines which kind may follow which, but not the position in the bar, which notes sound, or
what was requested. This state is kept here, for all candidates at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Grammar, Ids, for_candidates
from muse_tokenizers.midi.clock import Clock, Pace
from muse_tokenizers.midi.constraints import MidiConstraints, check_tempo, parse_instruments, parse_key, refuse_parts
from muse_tokenizers.midi.earlier import ExactLoopWatch
from muse_tokenizers.midi.loops import LoopWatch
from muse_tokenizers.midi.remi_tables import PROGRAMS, Kind, RemiTables

__all__ = ["WHOLE_KINDS", "RemiGrammar", "follow_table"]

_NOTHING = -1

WHOLE_KINDS = (Kind.TimeSig, Kind.Tempo, Kind.PedalOff, Kind.Pedal, Kind.Duration)
"""Kinds after which the piece is complete."""

# Successions that the graph allows and a well-formed piece does not need: an event without its own position, an end or
# padding inside a note, a program without a note.
_KEPT: dict[Kind, set[Kind]] = {
    Kind.PAD: {Kind.PAD},
    Kind.EOS: {Kind.PAD},
    Kind.BOS: {Kind.Bar},
    Kind.Bar: {Kind.TimeSig},
    Kind.TimeSig: {Kind.Bar, Kind.Position, Kind.EOS},
    Kind.Position: {Kind.Tempo, Kind.PedalOff, Kind.Pedal, Kind.Program, Kind.Pitch, Kind.PitchDrum},
    Kind.Tempo: set(Kind) - {Kind.TimeSig, Kind.PAD, Kind.Tempo},
    Kind.PedalOff: set(Kind) - {Kind.PAD},
    Kind.Pedal: set(Kind) - {Kind.PAD},
    Kind.Program: {Kind.Pitch, Kind.PitchDrum},
    Kind.Pitch: {Kind.Velocity},
    Kind.PitchDrum: {Kind.Velocity},
    Kind.Velocity: {Kind.Duration},
    Kind.Duration: set(Kind) - {Kind.PAD},
}

_ADDED = {(Kind.PAD, Kind.PAD), (Kind.EOS, Kind.PAD), (Kind.BOS, Kind.Bar)}
"""Successions outside MidiTok's graph: the special ids around a piece."""


def follow_table(graph: dict[str, set[str]], tables: RemiTables) -> NDArray[np.bool_]:
    """Return which ids may follow a kind, (kinds, V) bool, by MidiTok's graph and by the rules of complete pieces."""
    table = np.zeros((len(Kind), len(tables.kind)), dtype=bool)
    for kind in Kind:
        after = {Kind[name] for name in graph.get(kind.name, set()) if name in Kind.__members__}
        after = (after & _KEPT[kind]) | {second for first, second in _ADDED if first == kind}
        table[kind] = np.isin(tables.kind, sorted(after))
    return table


@dataclass(slots=True)
class RemiState:
    """State of C pieces: arrays over the candidates."""

    kind: NDArray[np.int64]
    """(C,) kind of the last id."""
    program: NDArray[np.int64]
    """(C,) current program; -1 before the first."""
    position: NDArray[np.int64]
    """(C,) position in the bar; -1 before the first."""
    positions: NDArray[np.int64]
    position_ticks: NDArray[np.int64]
    bar_ticks: NDArray[np.int64]
    unit: NDArray[np.int64]
    """(C,) each, properties of the time signature, as in `RemiTables`."""
    bar_start: NDArray[np.int64]
    now: NDArray[np.int64]
    """(C,) ticks."""
    seconds_per_tick: NDArray[np.float64]
    until: NDArray[np.int64]
    """(C, programs, 128) tick at which the last note of each pitch ends."""
    struck: NDArray[np.int64]
    """(C, programs) upper bound of the number of sounding pitches: ended ones are subtracted when it is used."""
    pressed: NDArray[np.int64]
    """(C, programs) tick at which the pedal went down; -1 if it is up."""
    pitch: NDArray[np.int64]
    """(C,) last pitch."""
    bars: NDArray[np.int64]
    notes: NDArray[np.int64]
    """(C,) number of notes in the continuation."""
    tempo_due: NDArray[np.bool_]
    """(C,) whether a tempo must come first."""
    heard: NDArray[np.int64]
    """(C,) tick at which the last note ends."""
    quiet: NDArray[np.float64]
    """(C,) seconds of silence so far."""


class RemiGrammar(Grammar):
    """The grammar of C pieces; see `Grammar`.

    In addition to the graph: positions ascend inside a bar and stay inside its time signature; a pitch begins only if
    it does not sound on that instrument, so there are no duplicates; drum pitches are allowed only on the drum kit; a
    pedal is pressed when up and released when down; a program token is always followed by a note.
    """

    _playing: NDArray[np.bool_] = np.ones(PROGRAMS, dtype=bool)
    """(programs,) programs that may play if none are requested."""
    _tempo: int | None
    """The id that must come first."""
    _loops: list[LoopWatch | ExactLoopWatch]
    _state: RemiState

    def __init__(
        self,
        tables: RemiTables,
        follow: NDArray[np.bool_],
        prompt: Ids,
        candidates: int,
        constraints: MidiConstraints | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._tables = tables
        self._tempo_seconds = tables.seconds_per_tick
        self._follow = follow
        self._has_requested_length = False
        self._last_bar: int | None = None
        self._last_second: float | None = None
        constraints = constraints or MidiConstraints()
        refuse_parts(constraints)
        self._start(constraints.rules)
        self._constraint(MidiConstraints())
        for step in prompt:
            self.advance(step[None])
        # A prompt ends with the id of the bar to be filled.
        self._state.bars[:] = self._state.kind == Kind.Bar
        # Silence before the split point does not count.
        self._state.quiet[:] = 0.0
        self._state = for_candidates(self._state, candidates)
        self.complete = np.repeat(self.complete, candidates)
        self.finished, self.elapsed = np.zeros(candidates, dtype=bool), np.zeros(candidates)
        self._loops = [self._loops[0].from_here() for _ in range(candidates)]
        self._rows = np.arange(candidates)
        if constraints.keep_instruments and not constraints.instruments and self._state.notes[0]:
            self._playing = self._state.struck[0] > 0
        self._constraint(constraints)
        if clock is not None:
            self._tempo_seconds = tables.tempos_of(clock)
            self._state.seconds_per_tick[:] = clock.per_tick_at(clock.split_point)
            if constraints.keep_tempo and constraints.tempo is None and clock.pace is not None:
                self._keep_tempo(clock, clock.pace)

    def _keep_tempo(self, clock: Clock, pace: Pace) -> None:
        """Continue in the prevailing tempo of the prompt, and stay in its range."""
        tables = self._tables
        known = tables.ids[Kind.Tempo]
        tempos = tables.beats_per_minute[known] * clock.scale
        prevailing = tables.nearest_tempo(pace.prevailing)
        self._tempos = ((tempos >= pace.slowest) & (tempos <= pace.fastest)) | (known == prevailing)
        if tables.nearest_tempo(clock.start) != prevailing:
            self._tempo = prevailing
            self._state.tempo_due[:] = True

    def _start(self, rules: int) -> None:
        """Initialise the state of one candidate, before the first id."""
        tables, common = self._tables, self._tables.common_time
        self._rows = np.arange(1)
        self._state = RemiState(
            kind=np.array([int(Kind.BOS)]),
            program=np.array([_NOTHING]),
            position=np.array([_NOTHING]),
            positions=tables.positions[[common]],
            position_ticks=tables.position_ticks[[common]],
            bar_ticks=tables.bar_ticks[[common]],
            unit=tables.unit[[common]],
            bar_start=np.zeros(1, dtype=np.int64),
            now=np.zeros(1, dtype=np.int64),
            seconds_per_tick=np.array([tables.default_seconds_per_tick]),
            until=np.zeros((1, PROGRAMS, 128), dtype=np.int64),
            struck=np.zeros((1, PROGRAMS), dtype=np.int64),
            pressed=np.full((1, PROGRAMS), _NOTHING),
            pitch=np.zeros(1, dtype=np.int64),
            bars=np.zeros(1, dtype=np.int64),
            notes=np.zeros(1, dtype=np.int64),
            tempo_due=np.zeros(1, dtype=bool),
            heard=np.zeros(1, dtype=np.int64),
            quiet=np.zeros(1),
        )
        self._loops = [LoopWatch() if rules > 1 else ExactLoopWatch()]
        self.complete = np.zeros(1, dtype=bool)
        self.finished = np.zeros(1, dtype=bool)
        self.elapsed = np.zeros(1)

    def _constraint(self, constraints: MidiConstraints) -> None:
        tables = self._tables
        self._instruments = self._playing.copy()
        if constraints.instruments:
            self._instruments[:] = False
            programs = parse_instruments(constraints.instruments, constraints.rules)
            self._instruments[[program + 1 for program in programs]] = True
        self._pitches = np.ones((PROGRAMS, 128), dtype=bool)
        if constraints.key is not None:
            self._pitches[1:] = np.isin(np.arange(128) % 12, sorted(parse_key(constraints.key)))
        self._capacity = self._pitches.sum(axis=1)
        self._tempo = None
        self._tempos = np.full(len(tables.ids[Kind.Tempo]), constraints.tempo is None)
        if constraints.tempo is not None:
            check_tempo(constraints.tempo)
            self._tempo = tables.nearest_tempo(constraints.tempo)
            self._state.tempo_due[:] = True
        self._silence, self._repeats = constraints.silence, constraints.repeats
        self._last_bar = constraints.bars
        self._last_second = constraints.seconds
        self._has_requested_length = constraints.bars is not None or constraints.seconds is not None

    def allowed(self) -> NDArray[np.bool_]:
        tables, state = self._tables, self._state
        kind = state.kind
        mask: NDArray[np.bool_] = self._follow[kind]
        mask[:, tables.ids[Kind.EOS]] &= ((state.notes > 0) & (not self._has_requested_length))[:, None]
        if not _SETTLED[kind].all():
            self._restrict_events(mask)
        if self.finished.any():
            mask[self.finished] = False
            mask[self.finished, tables.ids[Kind.PAD]] = True
        return mask[:, None, :]

    def _restrict_events(self, mask: NDArray[np.bool_]) -> None:
        """Restrict what the graph allows by the current state. mask is (C, V), changed in place."""
        state = self._state
        ids, kind, program = self._tables.ids, state.kind, state.program
        full = state.struck >= self._capacity
        if full.any():
            rows, programs = np.nonzero(full)
            sounding = (state.until[rows, programs] > state.now[rows, None]) & self._pitches[programs]
            state.struck[rows, programs] = sounding.sum(axis=1)
            full = state.struck >= self._capacity
        playable = self._instruments & ~full
        free = (state.until[self._rows, program] <= state.now[:, None]) & self._pitches[program]
        free &= ((program != _NOTHING) & self._instruments[program])[:, None]
        drums = (program == 0)[:, None]
        mask[:, ids[Kind.Pitch]] &= free & ~drums
        mask[:, ids[Kind.PitchDrum]] &= free & drums
        another = playable.copy()
        another[self._rows[program != _NOTHING], program[program != _NOTHING]] = False
        mask[:, ids[Kind.Program]] &= another
        mask[:, ids[Kind.Pedal]] &= self._instruments & (state.pressed == _NOTHING)
        # A pedal that is released at the tick of its press would have no length, and would never be released in a file.
        mask[:, ids[Kind.PedalOff]] &= (state.pressed != _NOTHING) & (state.pressed < state.now[:, None])
        later = np.arange(len(ids[Kind.Position]))
        mask[:, ids[Kind.Position]] &= (later > state.position[:, None]) & (later < state.positions[:, None])
        if self._silence is not None:
            left = (self._silence - state.quiet) / state.seconds_per_tick
            room = np.maximum(state.now, state.heard) + left + 1e-6 - state.bar_start
            mask[:, ids[Kind.Position]] &= later * state.position_ticks[:, None] <= room[:, None]
            mask[:, ids[Kind.Bar]] &= (state.bar_ticks <= room)[:, None]
        if self._repeats is not None:
            self._break_loops(mask)
        mask[:, ids[Kind.Tempo]] &= self._tempos
        if self._tempo is not None:
            # The tempo applies from the split point on, so the first bar begins with it, and no bar precedes it.
            for before, first in ((Kind.TimeSig, ids[Kind.Position][0]), (Kind.Position, self._tempo)):
                due = state.tempo_due & (kind == before)
                mask[due] = False
                mask[due, first] = True

    def _break_loops(self, mask: NDArray[np.bool_]) -> None:
        """Forbid the notes with which the bar would exceed the number of repeats."""
        state = self._state
        for row in np.flatnonzero(np.isin(state.kind, _BEFORE_PITCH)):
            program = int(state.program[row])
            for pitch in sorted(self._loops[row].withheld(int(state.position[row]), program)):
                family = self._tables.ids[Kind.PitchDrum if program == 0 else Kind.Pitch]
                struck = family[pitch]
                # A program must be followed by a note; and at least one id must be allowed.
                instead = mask[row, family] if state.kind[row] == Kind.Program else mask[row]
                if instead.sum() > mask[row, struck]:
                    mask[row, struck] = False

    def advance(self, ids: Ids) -> None:
        tables = self._tables
        taken = ids[:, 0]
        kind = tables.kind[taken]
        for present in set(kind.tolist()):
            rows = np.flatnonzero(kind == present)
            step = _STEPS.get(present)
            if step is not None:
                step(self, rows, taken[rows])
        self._state.kind = kind
        self.complete = _WHOLE[kind] & ~self.finished
        self.finished |= kind == Kind.EOS

    def _take_bar(self, rows: NDArray[np.int64], _: Ids) -> None:
        state = self._state
        # The first bar begins at 0, every other at the end of the previous one.
        first = (state.kind[rows] == Kind.BOS) | (state.kind[rows] == Kind.PAD)
        start = np.where(first, state.bar_start[rows], state.bar_start[rows] + state.bar_ticks[rows])
        for row in rows:
            self._loops[row].next_bar(self._repeats)
        state.bars[rows] += 1
        state.position[rows] = _NOTHING
        state.bar_start[rows] = start
        self._move_to(rows, start)
        if self._last_bar is not None:
            self.finished[rows] |= state.bars[rows] > self._last_bar

    def _take_time_signature(self, rows: NDArray[np.int64], ids: Ids) -> None:
        tables, state = self._tables, self._state
        state.positions[rows] = tables.positions[ids]
        state.position_ticks[rows] = tables.position_ticks[ids]
        state.bar_ticks[rows] = tables.bar_ticks[ids]
        state.unit[rows] = tables.unit[ids]

    def _take_position(self, rows: NDArray[np.int64], ids: Ids) -> None:
        state = self._state
        state.position[rows] = self._tables.number[ids]
        self._move_to(rows, state.bar_start[rows] + state.position[rows] * state.position_ticks[rows])

    def _move_to(self, rows: NDArray[np.int64], tick: NDArray[Any]) -> None:
        state = self._state
        self.elapsed[rows] += (tick - state.now[rows]) * state.seconds_per_tick[rows]
        # In seconds, because the tempo may change during a silence.
        silent = tick - np.maximum(state.now[rows], state.heard[rows])
        quiet = state.quiet[rows] + silent * state.seconds_per_tick[rows]
        state.quiet[rows] = np.where(tick > state.heard[rows], quiet, 0.0)
        state.now[rows] = tick
        if self._last_second is not None:
            # With a tolerance: otherwise a bar that should begin exactly there could begin before it by rounding.
            self.finished[rows] |= self.elapsed[rows] >= self._last_second - 1e-9

    def _take_tempo(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.seconds_per_tick[rows] = self._tempo_seconds[ids]
        self._state.tempo_due[rows] = False

    def _take_pedal(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.pressed[rows, self._tables.number[ids]] = self._state.now[rows]

    def _take_pedal_off(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.pressed[rows, self._tables.number[ids]] = _NOTHING

    def _take_program(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.program[rows] = self._tables.number[ids]

    def _take_pitch(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.pitch[rows] = self._tables.number[ids]

    def _take_duration(self, rows: NDArray[np.int64], ids: Ids) -> None:
        state = self._state
        ends = state.now[rows] + self._tables.duration_ticks[state.unit[rows], ids]
        state.until[rows, state.program[rows], state.pitch[rows]] = ends
        state.heard[rows] = np.maximum(state.heard[rows], ends)
        state.quiet[rows] = 0.0
        for row in rows:
            self._loops[row].strike(int(state.position[row]), int(state.program[row]), int(state.pitch[row]))
        state.struck[rows, state.program[rows]] += 1
        state.notes[rows] += 1


_STEPS = {
    int(Kind.Bar): RemiGrammar._take_bar,
    int(Kind.TimeSig): RemiGrammar._take_time_signature,
    int(Kind.Position): RemiGrammar._take_position,
    int(Kind.Tempo): RemiGrammar._take_tempo,
    int(Kind.Pedal): RemiGrammar._take_pedal,
    int(Kind.PedalOff): RemiGrammar._take_pedal_off,
    int(Kind.Program): RemiGrammar._take_program,
    int(Kind.Pitch): RemiGrammar._take_pitch,
    int(Kind.PitchDrum): RemiGrammar._take_pitch,
    int(Kind.Duration): RemiGrammar._take_duration,
}

_SETTLED = np.isin(
    np.arange(len(Kind)),
    [Kind.PAD, Kind.BOS, Kind.EOS, Kind.Bar, Kind.Pitch, Kind.PitchDrum, Kind.Velocity],
)
"""Kinds after which only the graph decides."""

_BEFORE_PITCH = [Kind.Position, Kind.Tempo, Kind.PedalOff, Kind.Pedal, Kind.Program, Kind.Duration]
"""Kinds after which a note may begin."""

_WHOLE = np.isin(np.arange(len(Kind)), [*WHOLE_KINDS, Kind.EOS])
