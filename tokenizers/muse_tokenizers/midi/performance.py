"""The performance vocabulary: scores as events in real time (note on, velocity, note off, time shift).

This is the vocabulary of the piano experiment of arXiv 2409.10870: 128 + 128 + 100 + 32 = 388 ids for one piano. The
sustain pedal lengthens the notes that it holds, as in Oore et al. 2018 (arXiv 1808.03715).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Grammar, Ids, Token, for_candidates
from muse_tokenizers.errors import InvalidConstraintError, UnreadablePieceError
from muse_tokenizers.midi.clock import Clock
from muse_tokenizers.midi.configuration import CONFIGURATIONS, MidiConfiguration
from muse_tokenizers.midi.constraints import MidiConstraints, parse_key, refuse_parts
from muse_tokenizers.midi.file_notes import FileNotes
from muse_tokenizers.midi.labels import pitch_name, program_name
from muse_tokenizers.midi.remi import shifted
from muse_tokenizers.midi.scores import held_ends, notes_track
from muse_tokenizers.midi.tempo_map import TempoMap
from muse_tokenizers.midi.tokenizer import MidiTokenizer
from muse_tokenizers.midi.vocabulary import make_miditok, make_vocabulary

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = ["PerformanceGrammar", "PerformanceTokenizer"]

_CLOSING_SECONDS = 0.5
"""Length of a note that has not ended at the end of a piece."""


class PerformanceTokenizer(MidiTokenizer):
    """Encodes scores as events in real time."""

    def __init__(self, configuration: MidiConfiguration = CONFIGURATIONS["performance"]) -> None:
        self._miditok = make_miditok(configuration)
        super().__init__(configuration, make_vocabulary(self._miditok))
        self.tick_seconds = configuration.shift_milliseconds / 1000
        self.on, self.off = self.entries.ids("NoteOn"), self.entries.ids("NoteOff")
        self.shift, self.velocity = self.entries.ids("TimeShift"), self.entries.ids("Velocity")
        self.shift_ticks = np.zeros(len(self.entries), dtype=np.int64)
        for i in self.shift:
            beat, part, bins = (int(number) for number in self.entries.values[i].split("."))
            self.shift_ticks[i] = beat * bins + part
        self._velocities = frozenset(self.velocity.tolist())
        numbered = ("NoteOn", "NoteOff", "Velocity")
        pairs = zip(self.entries.kinds, self.entries.values, strict=True)
        self._meanings = [(kind, int(value) if kind in numbered else 0) for kind, value in pairs]

    # Scores

    def encode_list(self, score: Score) -> list[int]:
        """Encode everything except drums, as one piano.

        Raises:
            UnreadablePieceError: The score has only drums.
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
        """Return the notes of a track in steps of real time, extended while the pedal holds them."""
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

    def decode_list(self, ids: list[int]) -> Score:
        """Decode complete ids; a note without an end lasts for another half second.

        The result is that of MidiTok's decoder, which first builds lists for 16,512 pitches of 129 programs.
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
        """Return the ids, followed by those that end the notes that still sound."""
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
        """Return the number of ids before an incomplete note on, one without a velocity."""
        return len(ids) - 1 if ids and self.entries.kinds[ids[-1]] == "NoteOn" else len(ids)

    # Time

    def split_ids(self, ids: list[int], seconds: float | None) -> tuple[list[int], int, float]:
        """Return the ids up to the split point: the last time before `seconds` at which no note sounds, if there is one
        in the last fifth of the prompt, else the last time shift.

        Returns the ids, and ticks and seconds of the split point.
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

    # Meaning

    def file_notes(self, piece: Score) -> FileNotes:
        """Return the notes of a piece as in its file, in steps of real time, all for player 0."""
        tempo = TempoMap(piece)
        tracks = ((0, track) for track in piece.tracks if not track.is_drum)
        return FileNotes(tracks, lambda ticks: tempo.seconds(ticks) / self.tick_seconds)

    def describe_list(
        self, ids: list[int], clock: Clock | None = None, prompt_length: int = 0, file: FileNotes | None = None
    ) -> list[Token]:
        """Describe every id, at the times of the ids alone. The ids of a note share its index and span."""
        tokens, tick, note = list[Token](), 0, -1
        sounding: dict[int, list[int]] = {}
        strikes: list[tuple[list[int], int, int]] = []
        numbers: dict[int, int] = {}
        for index, i in enumerate(ids):
            kind, value = self.entries.kinds[i], self.entries.values[i]
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
            found = None if file is None or members[0] >= prompt_length else file.end(0, pitch, struck, 1.0)
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

    def grammar(self, prompt: Ids, candidates: int, constraints: MidiConstraints | None) -> PerformanceGrammar:
        """See `Domain.grammar`."""
        return PerformanceGrammar(self, prompt, candidates, constraints or MidiConstraints())

    def transposed(self, semitones: int) -> tuple[Ids, NDArray[np.bool_]]:
        """Return (V,) ids with every pitch transposed, and (V,) bool, false if a pitch leaves 0 to 127."""
        return shifted(len(self.entries), [self.on, self.off], semitones)


@dataclass(slots=True)
class PerformanceState:
    """State of C performances: arrays over the candidates."""

    sounding: NDArray[np.bool_]
    fresh: NDArray[np.bool_]
    """(C, 128) each, the pitches that sound, and those played since the last time shift."""
    last: NDArray[np.int64]
    """(C,) the last id."""
    notes: NDArray[np.int64]
    """(C,) number of notes in the continuation."""
    quiet: NDArray[np.float64]
    """(C,) seconds of silence so far."""


class PerformanceGrammar(Grammar):
    """The grammar of C performances; see `Grammar`.

    A note on is followed by a velocity, does not repeat a pitch that sounds, and ends later than it begins.
    """

    def __init__(
        self, tokenizer: PerformanceTokenizer, prompt: Ids, candidates: int, constraints: MidiConstraints
    ) -> None:
        refuse_parts(constraints)
        for name in ("instruments", "tempo", "bars", "repeats"):
            if getattr(constraints, name):
                raise InvalidConstraintError(
                    name,
                    getattr(constraints, name),
                    "none with this checkpoint, whose vocabulary has one piano and no bars",
                )
        self._tokenizer, self._last_second = tokenizer, constraints.seconds
        size = len(tokenizer.entries)
        special = [tokenizer.entries.names.index(name) for name in ("PAD_None", "BOS_None", "EOS_None")]
        self._pad, self._begin, self._end = special
        self._is_shift = np.isin(np.arange(size), tokenizer.shift)
        self._pitch = np.full(size, -1)
        for family in (tokenizer.on, tokenizer.off):
            self._pitch[family] = np.arange(128)
        self._on, self._off = np.isin(np.arange(size), tokenizer.on), np.isin(np.arange(size), tokenizer.off)
        self._velocity = np.isin(np.arange(size), tokenizer.velocity)
        requested = parse_key(constraints.key) if constraints.key is not None else range(12)
        self._pitches = np.isin(np.arange(128) % 12, sorted(requested))
        self._state = PerformanceState(
            sounding=np.zeros((1, 128), dtype=bool),
            fresh=np.zeros((1, 128), dtype=bool),
            last=np.array([self._begin]),
            notes=np.zeros(1, dtype=np.int64),
            quiet=np.zeros(1),
        )
        self.complete, self.finished, self.elapsed = np.ones(1, dtype=bool), np.zeros(1, dtype=bool), np.zeros(1)
        limit, self._last_second = self._last_second, None
        for step in prompt:
            self.advance(step[None])
        self._last_second = limit
        # Notes and silence are counted from the split point on.
        self._state.notes[:], self._state.quiet[:] = 0, 0.0
        self._silence = constraints.silence
        self._state = for_candidates(self._state, candidates)
        self.complete = np.repeat(self.complete, candidates)
        self.finished, self.elapsed = np.zeros(candidates, dtype=bool), np.zeros(candidates)

    def allowed(self) -> NDArray[np.bool_]:
        state = self._state
        tokenizer, last = self._tokenizer, state.last
        mask = np.zeros((len(last), len(tokenizer.entries)), dtype=bool)
        struck, after_velocity = self._on[last], self._velocity[last]
        mask[np.ix_(struck, tokenizer.velocity)] = True
        free = ~struck
        mask[:, tokenizer.on] = ~state.sounding & self._pitches & free[:, None]
        mask[:, tokenizer.off] = state.sounding & ~state.fresh & (free & ~after_velocity)[:, None]
        mask[np.ix_(free, tokenizer.shift)] = True
        if self._silence is not None:
            longer = (
                state.quiet[:, None] + tokenizer.shift_ticks[tokenizer.shift] * tokenizer.tick_seconds
                > self._silence + 1e-9
            )
            mask[:, tokenizer.shift] &= ~longer | state.sounding.any(axis=1, keepdims=True)
        mask[:, self._end] = free & (state.notes > 0) & (self._last_second is None)
        mask[self.finished] = False
        mask[self.finished, self._pad] = True
        return mask[:, None, :]

    def advance(self, ids: Ids) -> None:
        state = self._state
        taken = ids[:, 0]
        rows = np.arange(len(taken))
        pitch, on, off, shift = self._pitch[taken], self._on[taken], self._off[taken], self._is_shift[taken]
        state.sounding[rows[on], pitch[on]] = True
        state.fresh[rows[on], pitch[on]] = True
        state.sounding[rows[off], pitch[off]] = False
        state.fresh[shift] = False
        waited = self._tokenizer.shift_ticks[taken] * self._tokenizer.tick_seconds
        self.elapsed += waited
        state.notes += on
        state.quiet = np.where(state.sounding.any(axis=1), 0.0, state.quiet + waited)
        if self._last_second is not None:
            self.finished |= shift & (self.elapsed >= self._last_second - 1e-9)
        self.complete = ~on & ~self.finished & (taken != self._pad)
        self.finished |= taken == self._end
        state.last = taken
