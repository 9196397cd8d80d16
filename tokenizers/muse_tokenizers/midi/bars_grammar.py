"""What the grammars of scores in bars share: who plays what until when, silence, repeated bars, and requested lengths.

Knows the state of C candidates, and neither a vocabulary nor which kind of id follows which.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Grammar, Ids
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.earlier import ExactLoopWatch
from muse_tokenizers.midi.loops import LoopWatch

__all__ = ["NOTHING", "BarsGrammar", "BarsState", "Step"]

NOTHING = -1

Step = Callable[[Any, NDArray[np.int64], Ids], None]
"""Takes a grammar, (R,) rows, and their (R,) ids of one kind."""


class _Tables(Protocol):
    kind: NDArray[np.int64]
    """(V,) kind of each id."""


@dataclass(slots=True, kw_only=True)
class BarsState:
    """State of C scores: arrays over the candidates."""

    kind: NDArray[np.int64]
    """(C,) kind of the last id."""
    player: NDArray[np.int64]
    """(C,) current player; -1 before the first."""
    position: NDArray[np.int64]
    """(C,) position in the bar; -1 before the first."""
    bar_start: NDArray[np.int64]
    bar_ticks: NDArray[np.int64]
    """(C,) tick of the bar line, and length of the bar."""
    now: NDArray[np.int64]
    """(C,) tick."""
    seconds_per_tick: NDArray[np.float64]
    until: NDArray[np.int32]
    """(C, players, 128) tick from which each pitch can begin again."""
    sounding: NDArray[np.int64]
    """(C, players) upper bound of the number of sounding pitches: ended ones are subtracted when it is used."""
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


class BarsGrammar(Grammar):
    """The grammar of C scores in bars; see `Grammar`."""

    _steps: ClassVar[Mapping[int, Step]]
    """What an id of each kind changes."""
    _end: ClassVar[int]
    """The kind that ends a score."""
    _before_first_bar: ClassVar[tuple[int, ...]]
    """Kinds after which a bar is the first one."""
    _before_pitch: ClassVar[tuple[int, ...]]
    """Kinds after which a note may begin."""
    _names_player: ClassVar[tuple[int, ...]]
    """Kinds that name a player, who must then play."""

    _tables: _Tables
    _state: BarsState
    _loops: list[LoopWatch | ExactLoopWatch]
    _rows: NDArray[np.int64]
    """(C,) all rows."""
    _players: NDArray[np.bool_]
    """(players,) who may play."""
    _pitches: NDArray[np.bool_]
    """(players, 128) what they may play."""

    @abstractmethod
    def _is_complete(self, kind: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the score is complete after an id of each kind, (C,)."""

    @abstractmethod
    def _family(self, player: int) -> Ids:
        """Return the ids of the pitches of a player, (128,)."""

    def _set_pitches(self, pitches: NDArray[np.bool_]) -> None:
        """Set what the players may play, (players, 128)."""
        self._pitches, self._capacity = pitches, pitches.sum(axis=1)

    def _set_limits(self, constraints: MidiConstraints) -> None:
        """Set the requested lengths, the longest silence, and the number of repeats."""
        self._silence, self._repeats = constraints.silence, constraints.repeats
        self._last_bar, self._last_second = constraints.bars, constraints.seconds
        self._has_requested_length = constraints.bars is not None or constraints.seconds is not None

    # What is allowed

    def _playable(self) -> NDArray[np.bool_]:
        """Return who can begin a note, (C, players)."""
        state = self._state
        full = state.sounding >= self._capacity
        if full.any():
            rows, players = np.nonzero(full)
            sounding = (state.until[rows, players] > state.now[rows, None]) & self._pitches[players]
            state.sounding[rows, players] = sounding.sum(axis=1)
            full = state.sounding >= self._capacity
        playable: NDArray[np.bool_] = self._players & ~full
        return playable

    def _free_pitches(self) -> NDArray[np.bool_]:
        """Return what the current player can begin, (C, 128)."""
        state, player = self._state, np.maximum(self._state.player, 0)
        free: NDArray[np.bool_] = (state.until[self._rows, player] <= state.now[:, None]) & self._pitches[player]
        free &= ((state.player != NOTHING) & self._players[player])[:, None]
        return free

    def _room(self) -> NDArray[np.float64] | None:
        """Return how many ticks of the bar may pass until a note begins, (C,); None for any number."""
        if self._silence is None:
            return None
        state = self._state
        left = np.maximum(self._silence - state.quiet, 0.0) / state.seconds_per_tick
        room: NDArray[np.float64] = np.maximum(state.now, state.heard) + left + 1e-6 - state.bar_start
        return room

    def _break_loops(self, mask: NDArray[np.bool_]) -> None:
        """Forbid the notes with which the bar would exceed the number of repeats. mask is (C, V), changed in place."""
        state = self._state
        for row in np.flatnonzero(np.isin(state.kind, self._before_pitch)):
            player = int(state.player[row])
            family = self._family(player)
            for pitch in sorted(self._loops[row].withheld(int(state.position[row]), player)):
                struck = family[pitch]
                # A player who is named must play; and at least one id must be allowed.
                instead = mask[row, family] if state.kind[row] in self._names_player else mask[row]
                if instead.sum() > mask[row, struck]:
                    mask[row, struck] = False

    # What an id changes

    def advance(self, ids: Ids) -> None:
        taken = ids[:, 0]
        kind = self._tables.kind[taken]
        for present in set(kind.tolist()):
            rows = np.flatnonzero(kind == present)
            step = self._steps.get(present)
            if step is not None:
                step(self, rows, taken[rows])
        self._state.kind = kind
        self.complete = self._is_complete(kind) & ~self.finished
        self.finished |= kind == self._end

    def _take_bar(self, rows: NDArray[np.int64], _: Ids) -> None:
        state = self._state
        # The first bar begins at 0, every other at the end of the previous one.
        first = np.isin(state.kind[rows], self._before_first_bar)
        start = state.bar_start[rows] + np.where(first, 0, state.bar_ticks[rows])
        for row in rows:
            self._loops[row].next_bar(self._repeats)
        state.bars[rows] += 1
        state.position[rows] = NOTHING
        state.bar_start[rows] = start
        self._move_to(rows, start)
        if self._last_bar is not None:
            self.finished[rows] |= state.bars[rows] > self._last_bar

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

    def _sound(self, rows: NDArray[np.int64], ticks: NDArray[np.int64]) -> None:
        """Begin a note of the current player and pitch, now."""
        state = self._state
        player, ends = state.player[rows], state.now[rows] + ticks
        state.until[rows, player, state.pitch[rows]] = ends
        state.heard[rows] = np.maximum(state.heard[rows], ends)
        state.quiet[rows] = 0.0
        state.sounding[rows, player] += 1
        state.notes[rows] += 1
        for row in rows:
            self._loops[row].strike(int(state.position[row]), int(state.player[row]), int(state.pitch[row]))
