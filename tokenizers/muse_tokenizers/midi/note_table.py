"""The notes of a score as arrays in real time, for measures that need no bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.segments import DRUMS, bar_lines
from muse_tokenizers.midi.tempo_map import TempoMap

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["PARTS_PER_PROGRAM", "NoteTable", "note_table"]

Column = NDArray[np.float64]

PARTS_PER_PROGRAM = 8
"""Largest number of tracks of one program that are distinguished: two hands, four horns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoteTable:
    """N notes ordered by onset, and the tempo changes. Times are in seconds."""

    onset: Column
    """(N,)"""
    end: Column
    """(N,) times at which the keys are released."""
    pitch: Column
    """(N,) MIDI pitches."""
    velocity: Column
    """(N,) velocities from 1 to 127."""
    program: NDArray[np.int64]
    """(N,) General MIDI programs; -1 for drums."""
    part: NDArray[np.int64]
    """(N,) the track: 8 x (program + 1), plus 0 for the first track of its program, 1 for the second, up to 7."""
    bar_position: Column
    """(N,) the onset's place in its bar, from 0 at the bar line up to 1."""
    tempo_changes: Column
    """(M,)"""

    @property
    def drums(self) -> NDArray[np.bool_]:
        """(N,)"""
        found: NDArray[np.bool_] = self.program == DRUMS
        return found

    def between(self, start: float, end: float) -> NoteTable:
        """Return what begins in [start, end), with `start` as 0. Notes keep their length."""
        kept = (self.onset >= start) & (self.onset < end)
        tempos = self.tempo_changes[(self.tempo_changes >= start) & (self.tempo_changes < end)]
        return self._taken(kept, start, tempos - start)

    def pitched(self) -> NoteTable:
        """Return the notes without drums."""
        return self._taken(~self.drums, 0.0, self.tempo_changes)

    def repeated(self, period: float, end: float) -> NoteTable:
        """Repeat the notes every `period` seconds, up to `end`."""
        times = int(np.ceil(end / period))
        shifts = np.repeat(np.arange(times) * period, len(self.onset))
        onset = np.tile(self.onset, times) + shifts
        tempos = np.add.outer(np.arange(times) * period, self.tempo_changes).ravel()
        tiled = NoteTable(
            onset=onset,
            end=np.tile(self.end, times) + shifts,
            pitch=np.tile(self.pitch, times),
            velocity=np.tile(self.velocity, times),
            program=np.tile(self.program, times),
            part=np.tile(self.part, times),
            bar_position=np.tile(self.bar_position, times),
            tempo_changes=tempos,
        )
        return tiled.between(0.0, end)

    def _taken(self, kept: NDArray[np.bool_], shift: float, tempos: Column) -> NoteTable:
        return NoteTable(
            onset=self.onset[kept] - shift,
            end=self.end[kept] - shift,
            pitch=self.pitch[kept],
            velocity=self.velocity[kept],
            program=self.program[kept],
            part=self.part[kept],
            bar_position=self.bar_position[kept],
            tempo_changes=tempos,
        )


def note_table(score: Score) -> NoteTable:
    """Return the notes of a score in seconds, by its tempo map."""
    tempo = TempoMap(score)
    columns: list[NDArray[np.int64]] = [np.zeros((6, 0), dtype=np.int64)]
    tracks: dict[int, int] = {}
    for track in score.tracks:
        notes = track.notes.numpy()
        if not len(notes["time"]):
            continue
        time = notes["time"].astype(np.int64)
        program = DRUMS if track.is_drum else int(track.program)
        earlier = tracks.get(program, 0)
        tracks[program] = earlier + 1
        part = PARTS_PER_PROGRAM * (program + 1) + min(earlier, PARTS_PER_PROGRAM - 1)
        constant = [np.full(len(time), value, dtype=np.int64) for value in (program, part)]
        columns.append(
            np.stack([time, time + notes["duration"], notes["pitch"], notes["velocity"], *constant]).astype(np.int64)
        )
    time, ends, pitch, velocity, programs, parts = np.concatenate(columns, axis=1)
    order = np.lexsort((parts, pitch, time))
    time = time[order]
    lines = bar_lines(score, float(time[-1]) if len(time) else 0.0)
    bar = np.searchsorted(lines, time, side="right") - 1
    return NoteTable(
        onset=tempo.seconds(time),
        end=tempo.seconds(ends[order]),
        pitch=pitch[order].astype(np.float64),
        velocity=velocity[order].astype(np.float64),
        program=programs[order],
        part=parts[order],
        bar_position=(time - lines[bar]) / np.diff(lines)[bar],
        tempo_changes=np.sort(tempo.seconds(score.tempos.numpy()["time"].astype(np.int64))),
    )
