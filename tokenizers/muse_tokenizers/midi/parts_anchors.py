"""Anchors: what a prompt fixes and a model forgets. Loudness and density of a continuation are running means, and a
bias on the logits leads them back to those of the prompt.

A model of a few million parameters drifts: it gets louder, and its notes more frequent. The bias is proportional to the
deviation, and 0 without one. It tilts the distribution only as far as a mean has moved, so that a crescendo or a pause
remains possible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.parts_reading import PartsReading
from muse_tokenizers.midi.parts_state import NOTHING, PartsState
from muse_tokenizers.midi.parts_vocabulary import PLAYERS, PartsKind, PartsTables

__all__ = ["Anchors"]

_NOTES = 24
"""Notes of a player over which its velocity is averaged."""
_SECONDS = 6.0
"""Seconds over which the density is averaged."""
_PROMPT_SECONDS = 20.0
"""Seconds at the end of a prompt that are its density."""
_LEAST_DEVIATION = 8.0
"""Least standard deviation of velocities: that of a score is 0."""
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
        self._dynamics, self._density = ("dynamics" in names), ("density" in names)
        notes = reading.notes
        self._mean, self._deviation = np.zeros(PLAYERS), np.full(PLAYERS, _LEAST_DEVIATION)
        for player in set(notes.player.tolist()):
            own = notes.velocity[notes.player == player]
            self._mean[player] = own.mean()
            self._deviation[player] = max(float(own.std()), _LEAST_DEVIATION)
        self._heard = np.isin(np.arange(PLAYERS), notes.player)
        end = int(reading.tick[-1]) if len(reading.tick) else 0
        begin = max(end - _PROMPT_SECONDS / seconds_per_tick, int(notes.tick.min(initial=end)))
        inside = int((notes.tick >= begin).sum())
        self._rate = inside / max((end - begin) * seconds_per_tick, 1.0) if inside else 0.0
        """Notes per second of the prompt; 0 without one."""
        self._level = np.repeat(self._mean[None], count, axis=0)
        self._recent = np.full(count, self._rate * _SECONDS)
        """(C,) decaying number of notes."""
        positions = tables.ids[PartsKind.Position]
        self._first, self._count = int(positions[0]), len(positions)

    def struck(self, rows: NDArray[np.int64], players: NDArray[np.int64], velocities: NDArray[np.int64]) -> None:
        """Add a note of one candidate each."""
        level = self._level[rows, players]
        self._level[rows, players] = level + (velocities - level) / _NOTES
        self._recent[rows] += 1.0

    def waited(self, rows: NDArray[np.int64], seconds: NDArray[np.float64]) -> None:
        """Let time pass."""
        self._recent[rows] *= np.exp(-np.maximum(seconds, 0.0) / _SECONDS)

    def bias(self, state: PartsState) -> NDArray[np.float64] | None:
        """Return what is added to the logits, (C, V); None for nothing."""
        found = np.zeros((len(state.kind), len(self._tables.kind)))
        if self._dynamics:
            self._bias_velocities(state, found)
        if self._density and self._rate:
            self._bias_time(state, found)
        return found if found.any() else None

    def _bias_velocities(self, state: PartsState, bias: NDArray[np.float64]) -> None:
        rows = np.flatnonzero((state.kind == PartsKind.Pitch) | (state.kind == PartsKind.PitchDrum))
        rows = rows[self._heard[state.player[rows]]]
        players = state.player[rows]
        levels = state.velocity[rows, players]
        rows, players, levels = (column[levels != NOTHING] for column in (rows, players, levels))
        ids = self._tables.ids[PartsKind.Velocity]
        # For a normal distribution this moves the mean by the deviation from that of the prompt.
        slope = (self._mean[players] - self._level[rows, players]) / self._deviation[players] ** 2
        step = self._tables.number[ids] - self._tables.number[levels][:, None]
        bias[np.ix_(rows, ids)] = np.clip(slope[:, None] * step, -_MOST, _MOST)

    def _bias_time(self, state: PartsState, bias: NDArray[np.float64]) -> None:
        denser = np.log((self._recent + 1.0) / (self._rate * _SECONDS + 1.0))
        here = np.where(state.position == NOTHING, 0, state.position)
        ahead = np.maximum(np.arange(self._count) - here[:, None], 0) * state.seconds_per_tick[:, None]
        until_bar = np.maximum(state.bar_ticks - here, 0) * state.seconds_per_tick
        scale = denser * self._rate
        bias[:, self._first : self._first + self._count] = np.clip(scale[:, None] * ahead, -_MOST, _MOST)
        bias[:, self._tables.first[PartsKind.Bar]] = np.clip(scale * until_bar, -_MOST, _MOST)
