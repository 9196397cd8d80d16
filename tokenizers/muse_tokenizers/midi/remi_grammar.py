"""The grammar of REMI: which ids are allowed next.

MidiTok's token-type graph defines which kind may follow which, but not the position in the bar, which notes sound, or
what was requested. This state is kept here, for all candidates at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Ids, for_candidates
from muse_tokenizers.midi.bars_grammar import NOTHING, BarsGrammar, BarsState
from muse_tokenizers.midi.clock import Clock, Pace
from muse_tokenizers.midi.constraints import MidiConstraints, check_tempo, parse_instruments, parse_key, refuse_parts
from muse_tokenizers.midi.earlier import ExactLoopWatch
from muse_tokenizers.midi.loops import LoopWatch
from muse_tokenizers.midi.remi_tables import PROGRAMS, Kind, RemiTables

__all__ = ["WHOLE_KINDS", "RemiGrammar", "follow_table"]

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


@dataclass(slots=True, kw_only=True)
class RemiState(BarsState):
    """State of C pieces: arrays over the candidates. A player is a program, as an index below `PROGRAMS`."""

    positions: NDArray[np.int64]
    position_ticks: NDArray[np.int64]
    unit: NDArray[np.int64]
    """(C,) each, properties of the time signature, as in `RemiTables`."""


class RemiGrammar(BarsGrammar):
    """The grammar of C pieces; see `Grammar`.

    In addition to the graph: positions ascend inside a bar and stay inside its time signature; a pitch begins only if
    it does not sound on that instrument, so there are no duplicates; drum pitches are allowed only on the drum kit; a
    pedal is pressed when up and released when down; a program token is always followed by a note.
    """

    _end = int(Kind.EOS)
    # After padding a prompt begins anew.
    _before_first_bar = (Kind.BOS, Kind.PAD)
    _before_pitch = (Kind.Position, Kind.Tempo, Kind.PedalOff, Kind.Pedal, Kind.Program, Kind.Duration)
    _names_player = (Kind.Program,)

    _playing: NDArray[np.bool_] = np.ones(PROGRAMS, dtype=bool)
    """(programs,) programs that may play if none are requested."""
    _tempo: int | None
    """The id that must come first."""
    _tables: RemiTables
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
            self._playing = self._state.sounding[0] > 0
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
            player=np.array([NOTHING]),
            position=np.array([NOTHING]),
            positions=tables.positions[[common]],
            position_ticks=tables.position_ticks[[common]],
            bar_ticks=tables.bar_ticks[[common]],
            unit=tables.unit[[common]],
            bar_start=np.zeros(1, dtype=np.int64),
            now=np.zeros(1, dtype=np.int64),
            seconds_per_tick=np.array([tables.default_seconds_per_tick]),
            until=np.zeros((1, PROGRAMS, 128), dtype=np.int32),
            sounding=np.zeros((1, PROGRAMS), dtype=np.int64),
            pressed=np.full((1, PROGRAMS), NOTHING),
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
        self._players = self._playing.copy()
        if constraints.instruments:
            self._players[:] = False
            programs = parse_instruments(constraints.instruments, constraints.rules)
            self._players[[program + 1 for program in programs]] = True
        pitches = np.ones((PROGRAMS, 128), dtype=bool)
        if constraints.key is not None:
            pitches[1:] = np.isin(np.arange(128) % 12, sorted(parse_key(constraints.key)))
        self._set_pitches(pitches)
        self._tempo = None
        self._tempos = np.full(len(tables.ids[Kind.Tempo]), constraints.tempo is None)
        if constraints.tempo is not None:
            check_tempo(constraints.tempo)
            self._tempo = tables.nearest_tempo(constraints.tempo)
            self._state.tempo_due[:] = True
        self._set_limits(constraints)

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
        ids, kind, program = self._tables.ids, state.kind, state.player
        another, free = self._playable(), self._free_pitches()
        drums = (program == 0)[:, None]
        mask[:, ids[Kind.Pitch]] &= free & ~drums
        mask[:, ids[Kind.PitchDrum]] &= free & drums
        another[self._rows[program != NOTHING], program[program != NOTHING]] = False
        mask[:, ids[Kind.Program]] &= another
        mask[:, ids[Kind.Pedal]] &= self._players & (state.pressed == NOTHING)
        # A pedal that is released at the tick of its press would have no length, and would never be released in a file.
        mask[:, ids[Kind.PedalOff]] &= (state.pressed != NOTHING) & (state.pressed < state.now[:, None])
        later = np.arange(len(ids[Kind.Position]))
        mask[:, ids[Kind.Position]] &= (later > state.position[:, None]) & (later < state.positions[:, None])
        room = self._room()
        if room is not None:
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

    def _is_complete(self, kind: NDArray[np.int64]) -> NDArray[np.bool_]:
        return _WHOLE[kind]

    def _family(self, player: int) -> Ids:
        return self._tables.ids[Kind.PitchDrum if player == 0 else Kind.Pitch]

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

    def _take_tempo(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.seconds_per_tick[rows] = self._tempo_seconds[ids]
        self._state.tempo_due[rows] = False

    def _take_pedal(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.pressed[rows, self._tables.number[ids]] = self._state.now[rows]

    def _take_pedal_off(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.pressed[rows, self._tables.number[ids]] = NOTHING

    def _take_program(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.player[rows] = self._tables.number[ids]

    def _take_pitch(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._state.pitch[rows] = self._tables.number[ids]

    def _take_duration(self, rows: NDArray[np.int64], ids: Ids) -> None:
        self._sound(rows, self._tables.duration_ticks[self._state.unit[rows], ids])


RemiGrammar._steps = {
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

_WHOLE = np.isin(np.arange(len(Kind)), [*WHOLE_KINDS, Kind.EOS])
