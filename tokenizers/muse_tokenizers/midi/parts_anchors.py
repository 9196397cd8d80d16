"""Anchors: what a prompt fixes and a model forgets. Loudness, register, density and balance of a continuation are
running means, and a bias on the logits leads them back to those of the prompt.

A model of a few million parameters drifts: it gets louder and higher, and its notes more frequent. The bias is
proportional to the deviation, and 0 without one. It tilts the distribution only as far as a mean has moved, so that a
crescendo or a pause remains possible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.bars_grammar import NOTHING
from muse_tokenizers.midi.parts_reading import PartsReading
from muse_tokenizers.midi.parts_state import PartsState
from muse_tokenizers.midi.parts_vocabulary import DRUM_KIT, PARTS, PLAYERS, PartsKind, PartsTables

__all__ = ["Anchors", "players_replaced"]

_NOTES = 24
"""Notes of a player over which its velocity and its pitch are averaged."""
_SECONDS = 6.0
"""Seconds over which the density is averaged."""
_BALANCE_SECONDS = 12.0
"""Seconds over which the shares of the players are averaged."""
_PROMPT_SECONDS = 20.0
"""Seconds at the end of a prompt that are its density and its balance."""
_FEW = 0.02
"""Share that is added to both shares, so that a player who is silent for a while is not forced to play."""
_LEAST_DEVIATION = np.array([8.0, 5.0])
"""Least standard deviation of velocities, which in a score is 0, and of pitches."""
_MOST = 3.0
"""Largest bias in nats."""


class Anchors:
    """The running means of C candidates, and their bias."""

    def __init__(
        self, names: tuple[str, ...], tables: PartsTables, reading: PartsReading, seconds_per_tick: float, count: int
    ) -> None:
        """
        Args:
            names: Some of `muse_tokenizers.built_in.ANCHORS`.
            tables: The vocabulary.
            reading: The prompt.
            seconds_per_tick: Its tempo at the end.
            count: Number of candidates C.
        """
        self._tables = tables
        self._names = frozenset(names)
        notes = reading.notes
        # (players, 2): velocity and pitch.
        self._mean, self._deviation = np.zeros((PLAYERS, 2)), np.ones((PLAYERS, 2))
        for player in set(notes.player.tolist()):
            own = np.stack([notes.velocity, notes.pitch], axis=1)[notes.player == player]
            self._mean[player] = own.mean(axis=0)
            self._deviation[player] = np.maximum(own.std(axis=0), _LEAST_DEVIATION)
        self._heard = np.isin(np.arange(PLAYERS), notes.player)
        end = int(reading.tick[-1]) if len(reading.tick) else 0
        begin = max(end - _PROMPT_SECONDS / seconds_per_tick, int(notes.tick.min(initial=end)))
        recent = notes.tick >= begin
        inside = int(recent.sum())
        self._rate = inside / max((end - begin) * seconds_per_tick, 1.0) if inside else 0.0
        """Notes per second of the prompt; 0 without one."""
        self._level = np.repeat(self._mean[None], count, axis=0)
        self._recent = np.full(count, self._rate * _SECONDS)
        """(C,) decaying number of notes."""
        self._shares = np.bincount(notes.player[recent], minlength=PLAYERS) / max(inside, 1)
        """(players,) share of the notes of the prompt."""
        self._played = np.repeat(self._shares[None] * self._rate * _BALANCE_SECONDS, count, axis=0)
        """(C, players) decaying number of notes."""
        positions = tables.ids[PartsKind.Position]
        self._first, self._count = int(positions[0]), len(positions)

    def struck(
        self,
        rows: NDArray[np.int64],
        players: NDArray[np.int64],
        velocities: NDArray[np.int64],
        pitches: NDArray[np.int64],
    ) -> None:
        """Add a note of one candidate each."""
        level = self._level[rows, players]
        self._level[rows, players] = level + (np.stack([velocities, pitches], axis=1) - level) / _NOTES
        self._recent[rows] += 1.0
        self._played[rows, players] += 1.0

    def corrected(self, rows: NDArray[np.int64], players: NDArray[np.int64], louder: NDArray[np.int64]) -> None:
        """Change the velocity of the last note of one candidate each."""
        self._level[rows, players, 0] += louder / _NOTES

    def waited(self, rows: NDArray[np.int64], seconds: NDArray[np.float64]) -> None:
        """Let time pass."""
        passed = np.maximum(seconds, 0.0)
        self._recent[rows] *= np.exp(-passed / _SECONDS)
        self._played[rows] *= np.exp(-passed / _BALANCE_SECONDS)[:, None]

    def bias(self, state: PartsState) -> NDArray[np.float64] | None:
        """Return what is added to the logits, (C, V); None for nothing."""
        found = np.zeros((len(state.kind), len(self._tables.kind)))
        if "dynamics" in self._names:
            self._bias_velocities(state, found)
        if "register" in self._names:
            self._bias_pitches(state, found)
        if "balance" in self._names and (self._shares < 1.0).all() and self._rate:
            self._bias_players(state, found)
        if "density" in self._names and self._rate:
            self._bias_time(state, found)
        return found if found.any() else None

    def _bias_velocities(self, state: PartsState, bias: NDArray[np.float64]) -> None:
        rows = np.flatnonzero((state.kind == PartsKind.Pitch) | (state.kind == PartsKind.PitchDrum))
        rows = rows[self._heard[state.player[rows]]]
        players = state.player[rows]
        levels = state.velocity[rows, players]
        rows, players, levels = (column[levels != NOTHING] for column in (rows, players, levels))
        ids = self._tables.ids[PartsKind.Velocity]
        step = self._tables.number[ids] - self._tables.number[levels][:, None]
        bias[np.ix_(rows, ids)] = np.clip(self._slopes(rows, players)[:, :1] * step, -_MOST, _MOST)

    def _bias_pitches(self, state: PartsState, bias: NDArray[np.float64]) -> None:
        players = np.maximum(state.player, 0)
        rows = np.flatnonzero(self._heard[players] & (state.player // PARTS != DRUM_KIT) & (state.player >= 0))
        players = players[rows]
        ids = self._tables.ids[PartsKind.Pitch]
        step = np.arange(len(ids)) - self._level[rows, players, 1:]
        bias[np.ix_(rows, ids)] += np.clip(self._slopes(rows, players)[:, 1:] * step, -_MOST, _MOST)

    def _slopes(self, rows: NDArray[np.int64], players: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the bias per unit of velocity and of pitch, (R, 2). Of a normal distribution it moves the mean by as
        much as the running mean has left that of the prompt."""
        slopes: NDArray[np.float64] = (self._mean[players] - self._level[rows, players]) / self._deviation[players] ** 2
        return slopes

    def _bias_players(self, state: PartsState, bias: NDArray[np.float64]) -> None:
        rows, ids = np.arange(len(bias)), self._tables.ids
        played = self._played / np.maximum(self._played.sum(axis=1, keepdims=True), 1e-9)
        rarer = np.log((self._shares + _FEW) / (played + _FEW))
        programs = [share.reshape(len(share), -1, PARTS).sum(axis=2) for share in (self._shares[None], played)]
        bias[:, ids[PartsKind.Program]] += np.log((programs[0] + _FEW) / (programs[1] + _FEW))
        known = np.maximum(state.player, 0)
        own = known[:, None] // PARTS * PARTS + np.arange(PARTS)
        bias[:, ids[PartsKind.Part]] += rarer[rows[:, None], own]
        for kind in (PartsKind.Pitch, PartsKind.PitchDrum):
            bias[:, ids[kind]] += np.where(state.player >= 0, rarer[rows, known], 0.0)[:, None]

    def _bias_time(self, state: PartsState, bias: NDArray[np.float64]) -> None:
        denser = np.log((self._recent + 1.0) / (self._rate * _SECONDS + 1.0))
        here = np.where(state.position == NOTHING, 0, state.position)
        ahead = np.maximum(np.arange(self._count) - here[:, None], 0) * state.seconds_per_tick[:, None]
        until_bar = np.maximum(state.bar_ticks - here, 0) * state.seconds_per_tick
        scale = denser * self._rate
        bias[:, self._first : self._first + self._count] = np.clip(scale[:, None] * ahead, -_MOST, _MOST)
        bias[:, self._tables.first[PartsKind.Bar]] = np.clip(scale * until_bar, -_MOST, _MOST)


def players_replaced(
    logits: NDArray[np.float32], allowed: NDArray[np.bool_], tables: PartsTables
) -> NDArray[np.float64] | None:
    """Give the probability of players that may not play to those that may; None if there are none.

    A model that expects an electric bass, where the prompt has a double bass, means that somebody else than the current
    player is next. Without this that probability would go to more notes of the current player.

    Args:
        logits: (C, V).
        allowed: (C, V) bool.
        tables: The vocabulary.

    Returns:
        (C, V) bias.
    """
    named = np.concatenate([tables.ids[PartsKind.Program], tables.ids[PartsKind.Part]])
    own, fits = logits[:, named].astype(np.float64), allowed[:, named]
    weights = np.exp(own - own.max(axis=1, keepdims=True))
    kept = (weights * fits).sum(axis=1)
    if not kept.any():
        return None
    gain = np.log(weights.sum(axis=1) / np.where(kept > 0, kept, 1.0))
    bias = np.zeros(logits.shape)
    bias[:, named] = np.where(fits & (kept > 0)[:, None], gain[:, None], 0.0)
    return bias
