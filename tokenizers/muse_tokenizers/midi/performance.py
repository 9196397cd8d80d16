"""Scores as a stream of events in real time: note on, velocity, note off, time shift.

The vocabulary of arXiv 2409.10870's piano experiment: 128 + 128 + 100 + 32 = 388 ids. One piano; the sustain pedal
lengthens the notes it holds, as in Oore et al. 2018 (arXiv 1808.03715).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Constraints, Grammar, Ids, Token
from muse_tokenizers.errors import ImpossibleOption, UnreadablePieceError
from muse_tokenizers.midi.configuration import MidiConfiguration
from muse_tokenizers.midi.constraints import parse_key
from muse_tokenizers.midi.file_notes import FileNotes
from muse_tokenizers.midi.labels import pitch_name, program_name
from muse_tokenizers.midi.remi import shifted
from muse_tokenizers.midi.scores import held_ends, notes_track
from muse_tokenizers.midi.tempo_map import TempoMap
from muse_tokenizers.midi.vocabulary import make_miditok, make_vocabulary

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = ["PerformanceGrammar", "PerformanceScheme"]

_CLOSING_SECONDS = 0.5
"""How long a note rings that nothing ended when a piece stops."""


class PerformanceScheme:
    """The real-time form of a MIDI tokenizer."""

    def __init__(self, configuration: MidiConfiguration) -> None:
        self._miditok = make_miditok(configuration)
        self.vocabulary = make_vocabulary(self._miditok)
        self.tick_seconds = configuration.shift_milliseconds / 1000
        self.on, self.off = self.vocabulary.ids("NoteOn"), self.vocabulary.ids("NoteOff")
        self.shift, self.velocity = self.vocabulary.ids("TimeShift"), self.vocabulary.ids("Velocity")
        self.shift_ticks = np.zeros(len(self.vocabulary), dtype=np.int64)
        for i in self.shift:
            beat, part, bins = (int(number) for number in self.vocabulary.values[i].split("."))
            self.shift_ticks[i] = beat * bins + part
        self._velocities = frozenset(self.velocity.tolist())
        numbered = ("NoteOn", "NoteOff", "Velocity")
        pairs = zip(self.vocabulary.kinds, self.vocabulary.values, strict=True)
        self._meanings = [(kind, int(value) if kind in numbered else 0) for kind, value in pairs]

    # Scores

    def encode(self, score: Score) -> list[int]:
        """Ids of all that is not drums, as one piano.

        Raises:
            UnreadablePieceError: there is nothing but drums.
        """
        from symusic import Score, Tempo

        retimed = Score(self._miditok.time_division)
        retimed.tempos.append(Tempo(0, 120.0))
        tempo = TempoMap(score)
        tracks = [self._retime(track, tempo) for track in score.tracks if not track.is_drum]
        merged = notes_track(tracks, program=0, is_drum=False, name="Piano")
        if not len(merged.notes):
            raise UnreadablePieceError("the piece has nothing but drums, for which this vocabulary has no ids")
        retimed.tracks.append(merged)
        tokens = self._miditok.encode(retimed)
        return [i for sequence in (tokens if isinstance(tokens, list) else [tokens]) for i in sequence.ids]

    def _retime(self, track: Track, tempo: TempoMap) -> Track:
        """A track -> its notes in steps of real time, as long as they sound under the pedal."""
        from symusic import Note, Track

        notes = track.notes.numpy()
        start = tempo.seconds(notes["time"])
        end = tempo.seconds(held_ends(track))
        retimed = Track(program=0, is_drum=False, name="Piano")
        ticks = np.rint(start / self.tick_seconds).astype(np.int32)
        length = np.maximum(np.rint(end / self.tick_seconds).astype(np.int32) - ticks, 1)
        if len(ticks):
            retimed.notes = Note.from_numpy(
                time=ticks, duration=length.astype(np.int32), pitch=notes["pitch"], velocity=notes["velocity"]
            )
        return retimed

    def decode(self, ids: list[int]) -> Score:
        """The score of whole ids; a note that nothing ends rings on for half a second.

        What MidiTok's decoder gives, which first makes lists for 16,512 pitches of 129 programs.
        """
        from symusic import Note, Score, Tempo, TimeSignature, Track

        score = Score(self._miditok.time_division)
        score.tempos.append(Tempo(0, 120.0))
        score.time_signatures.append(TimeSignature(0, 4, 4))
        sounding: dict[int, list[tuple[int, int]]] = {}
        rows, tick = list[tuple[int, int, int, int]](), 0
        for i, following in pairwise([*self.closed(ids), -1]):
            kind, pitch = self._meanings[i]
            if kind == "TimeShift":
                tick += int(self.shift_ticks[i])
            elif kind == "NoteOn" and following in self._velocities:
                sounding.setdefault(pitch, []).append((tick, self._meanings[following][1]))
            elif kind == "NoteOff" and sounding.get(pitch):
                onset, velocity = sounding[pitch].pop(0)
                rows.append((onset, tick - onset, pitch, velocity))
        if rows:
            track = Track(program=0, is_drum=False, name=program_name(0))
            time, duration, pitches, velocities = np.array(rows, dtype=np.int32).T.copy()
            track.notes = Note.from_numpy(
                time=time, duration=duration, pitch=pitches.astype(np.int8), velocity=velocities.astype(np.int8)
            )
            score.tracks.append(track)
        return score

    def closed(self, ids: list[int]) -> list[int]:
        """The ids, and what ends the notes that still sound."""
        sounding: dict[int, None] = {}
        off = {int(on): int(off) for on, off in zip(self.on, self.off, strict=True)}
        for i in ids:
            if i in off:
                sounding[off[i]] = None
            else:
                sounding.pop(i, None)
        if not sounding:
            return ids
        return [*ids, int(self.shift[self._closing_ticks - 1]), *sounding]

    @property
    def _closing_ticks(self) -> int:
        return min(round(_CLOSING_SECONDS / self.tick_seconds), len(self.shift))

    def whole_length(self, ids: list[int]) -> int:
        """How many of the ids there are before a note on that has no velocity."""
        return len(ids) - 1 if ids and self.vocabulary.kinds[ids[-1]] == "NoteOn" else len(ids)

    # Time

    def split_ids(self, ids: list[int], seconds: float | None) -> tuple[list[int], int, float]:
        """The ids up to the moment at which a piece is to be continued: the last before `seconds` at which nothing
        sounds, if there is one in the last fifth of the prompt, else the last time shift.

        Returns ids, ticks and seconds of the split point.
        """
        ticks = np.cumsum(self.shift_ticks[ids])
        if seconds is None:
            return ids, int(ticks[-1]), float(ticks[-1]) * self.tick_seconds
        change = np.isin(ids, self.on).astype(np.int64) - np.isin(ids, self.off)
        sounding, started = np.cumsum(change), np.cumsum(np.isin(ids, self.on)) > 0
        limit = seconds / self.tick_seconds
        candidates = np.flatnonzero(np.isin(ids, self.shift) & started & (ticks <= limit))
        if not len(candidates):
            candidates = np.flatnonzero(np.isin(ids, self.shift) & started)[:1]
        quiet = candidates[(sounding[candidates] == 0) & (ticks[candidates] >= 0.8 * limit)]
        at = int((quiet if len(quiet) else candidates)[-1]) if len(candidates) else len(ids) - 1
        return ids[: at + 1], int(ticks[at]), float(ticks[at]) * self.tick_seconds

    def half_step(self, ids: list[int]) -> float:
        """Half of the time grid, in its own steps."""
        return 0.5

    # Meaning

    def file_notes(self, piece: Score) -> FileNotes:
        """The notes of a piece as its file has them, in steps of real time, all of player 0."""
        tempo = TempoMap(piece)
        tracks = ((0, track) for track in piece.tracks if not track.is_drum)
        return FileNotes(tracks, lambda ticks: tempo.seconds(ticks) / self.tick_seconds)

    def describe(self, ids: list[int], given: int = 0, file: FileNotes | None = None) -> list[Token]:
        """A token for every id. A note's on, velocity and off share its number and span.

        Args:
            ids: special ones too.
            given: how many of them are a prompt's.
            file: where the prompt's notes end; None: as the ids say.
        """
        tokens, tick, note = list[Token](), 0, -1
        sounding: dict[int, list[int]] = {}
        strikes: list[tuple[list[int], int, int]] = []
        numbers: dict[int, int] = {}
        for index, i in enumerate(ids):
            kind, value = self.vocabulary.kinds[i], self.vocabulary.values[i]
            start, own = tick * self.tick_seconds, None
            tick += int(self.shift_ticks[i])
            end = tick * self.tick_seconds
            if kind == "NoteOn":
                note += 1
                sounding[int(value)], numbers[int(value)], own = [index], note, note
                strikes.append((sounding[int(value)], int(value), tick))
            elif kind == "Velocity" and note >= 0:
                own = note
                for members in sounding.values():
                    if members == [index - 1]:
                        members.append(index)
            elif kind == "NoteOff" and int(value) in sounding:
                own = numbers[int(value)]
                for member in sounding.pop(int(value)):
                    tokens[member] = replace(tokens[member], end=end)
            label, family = self._label(i, kind, value)
            pitch = int(value) if kind == "NoteOn" else None
            tokens.append(Token(id=i, label=label, kind=family, start=start, end=end, note=own, value=pitch))
        for members in sounding.values():
            for member in members:
                tokens[member] = replace(tokens[member], end=(tick + self._closing_ticks) * self.tick_seconds)
        for members, pitch, struck in strikes:
            found = None if file is None or members[0] >= given else file.end(0, pitch, struck, 1.0)
            if found is not None:
                for member in members:
                    tokens[member] = replace(tokens[member], end=found * self.tick_seconds)
        return tokens

    def _label(self, i: int, kind: str, value: str) -> tuple[str, str]:
        match kind:
            case "NoteOn":
                return pitch_name(int(value)), "pitch"
            case "NoteOff":
                return f"{pitch_name(int(value))} off", "note off"
            case "Velocity":
                return f"velocity {value}", "velocity"
            case "TimeShift":
                return f"{self.shift_ticks[i] * self.tick_seconds * 1000:g} ms", "time shift"
            case _:
                return {"PAD": "pad", "BOS": "begin", "EOS": "end"}[kind], "special"

    # Continuing

    def grammar(self, prompt: Ids, candidates: int, constraints: Constraints | None) -> PerformanceGrammar:
        """See `Tokenizer.grammar`."""
        return PerformanceGrammar(self, prompt, candidates, constraints or Constraints())

    def transposed(self, semitones: int) -> tuple[Ids, NDArray[np.bool_]]:
        """(V,) ids with every pitch moved; (V,) False where a pitch leaves 0 to 127."""
        return shifted(len(self.vocabulary), [self.on, self.off], semitones)


class PerformanceGrammar(Grammar):
    """The state of C growing performances; see `Grammar`.

    A note on brings a velocity, is never struck while it sounds, and ends later than it began.
    """

    def __init__(self, scheme: PerformanceScheme, prompt: Ids, candidates: int, constraints: Constraints) -> None:
        for name in ("instruments", "tempo", "bars", "repeats"):
            if getattr(constraints, name):
                raise ImpossibleOption(
                    name,
                    getattr(constraints, name),
                    "none with this checkpoint, whose vocabulary has one piano and no bars",
                )
        self._scheme, self._last_second = scheme, constraints.seconds
        size = len(scheme.vocabulary)
        special = [scheme.vocabulary.names.index(name) for name in ("PAD_None", "BOS_None", "EOS_None")]
        self._pad, self._begin, self._end = special
        self._is_shift = np.isin(np.arange(size), scheme.shift)
        self._pitch = np.full(size, -1)
        for family in (scheme.on, scheme.off):
            self._pitch[family] = np.arange(128)
        self._on, self._off = np.isin(np.arange(size), scheme.on), np.isin(np.arange(size), scheme.off)
        self._velocity = np.isin(np.arange(size), scheme.velocity)
        requested = parse_key(constraints.key) if constraints.key is not None else range(12)
        self._pitches = np.isin(np.arange(128) % 12, sorted(requested))
        self._sounding = np.zeros((1, 128), dtype=bool)
        self._fresh = np.zeros((1, 128), dtype=bool)
        self._last = np.array([self._begin])
        self.complete, self.finished, self.elapsed = np.ones(1, dtype=bool), np.zeros(1, dtype=bool), np.zeros(1)
        limit, self._last_second = self._last_second, None
        for step in prompt:
            self.advance(step[None])
        self._last_second = limit
        self.elapsed[:], self.finished[:] = 0.0, False
        self._notes = np.zeros(1, dtype=np.int64)
        self._silence, self._quiet = constraints.silence, np.zeros(1)
        for name in ("_sounding", "_fresh", "_last", "_notes", "_quiet", "complete", "finished", "elapsed"):
            setattr(self, name, np.repeat(getattr(self, name), candidates, axis=0))

    def allowed(self) -> NDArray[np.bool_]:
        scheme, last = self._scheme, self._last
        mask = np.zeros((len(last), len(scheme.vocabulary)), dtype=bool)
        struck, after_velocity = self._on[last], self._velocity[last]
        mask[np.ix_(struck, scheme.velocity)] = True
        free = ~struck
        mask[:, scheme.on] = ~self._sounding & self._pitches & free[:, None]
        mask[:, scheme.off] = self._sounding & ~self._fresh & (free & ~after_velocity)[:, None]
        mask[np.ix_(free, scheme.shift)] = True
        if self._silence is not None:
            longer = (
                self._quiet[:, None] + scheme.shift_ticks[scheme.shift] * scheme.tick_seconds > self._silence + 1e-9
            )
            mask[:, scheme.shift] &= ~longer | self._sounding.any(axis=1, keepdims=True)
        mask[:, self._end] = free & (self._notes > 0) & (self._last_second is None)
        mask[self.finished] = False
        mask[self.finished, self._pad] = True
        return mask[:, None, :]

    def advance(self, ids: Ids) -> None:
        taken = ids[:, 0]
        rows = np.arange(len(taken))
        pitch, on, off, shift = self._pitch[taken], self._on[taken], self._off[taken], self._is_shift[taken]
        self._sounding[rows[on], pitch[on]] = True
        self._fresh[rows[on], pitch[on]] = True
        self._sounding[rows[off], pitch[off]] = False
        self._fresh[shift] = False
        self.elapsed += self._scheme.shift_ticks[taken] * self._scheme.tick_seconds
        if hasattr(self, "_notes"):
            self._notes += on
            waited = self._scheme.shift_ticks[taken] * self._scheme.tick_seconds
            self._quiet = np.where(self._sounding.any(axis=1), 0.0, self._quiet + waited)
        if self._last_second is not None:
            self.finished |= shift & (self.elapsed >= self._last_second - 1e-9)
        self.complete = ~on & ~self.finished & (taken != self._pad)
        self.finished |= taken == self._end
        self._last = taken
