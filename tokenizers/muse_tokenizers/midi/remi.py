"""The REMI tokenizer: scores to ids and back, and the meaning of each id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Ids, Token
from muse_tokenizers.midi.clock import Clock, file_clock, pace_of
from muse_tokenizers.midi.configuration import CONFIGURATIONS, MidiConfiguration
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.file_notes import FileNotes
from muse_tokenizers.midi.labels import drum_name, pitch_name, program_name
from muse_tokenizers.midi.remi_grammar import RemiGrammar, follow_table
from muse_tokenizers.midi.remi_tables import DEFAULT_TEMPO, Kind, RemiTables
from muse_tokenizers.midi.scores import merge_tracks, rewrite_time_signatures
from muse_tokenizers.midi.tokenizer import MidiTokenizer
from muse_tokenizers.midi.vocabulary import make_miditok, make_vocabulary

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["RemiEvent", "RemiTokenizer"]


@dataclass(frozen=True, slots=True)
class RemiEvent:
    """Position of a REMI id in its piece."""

    id: int
    kind: Kind
    tick: int
    seconds: float
    seconds_per_tick: float
    bar: int
    """Bar, counted from 1; 0 before the first."""
    position: int
    """Position in the bar."""
    unit: int
    """Unit of the beat: 0 for a quarter, 1 for an eighth."""
    program: int
    """Index of the current program; -1 before the first."""


class RemiTokenizer(MidiTokenizer):
    """Encodes scores as bars and positions."""

    def __init__(self, configuration: MidiConfiguration = CONFIGURATIONS["remi"]) -> None:
        self._miditok = make_miditok(configuration)
        super().__init__(configuration, make_vocabulary(self._miditok))
        self.tables = RemiTables(configuration, self.entries)
        self._follow = follow_table(self._miditok.tokens_types_graph, self.tables)

    # Scores

    def encode_list(self, score: Score) -> list[int]:
        """Encode a score; if equal pitches overlap on one instrument, the first note is shortened."""
        from symusic import Score

        clean = Score(score.ticks_per_quarter)
        clean.tempos = score.tempos
        for signature in rewrite_time_signatures(score, self.settings.time_signatures):
            clean.time_signatures.append(signature)
        for track in merge_tracks(score):
            clean.tracks.append(track)
        # MidiTok truncates the ticks of time signatures instead of rounding them, and one that is slightly early would
        # take effect a bar late.
        units = [item.denominator for item in clean.time_signatures if self._knows(item)]
        clean = clean.resample(self.settings.positions_per_beat * max([4, *units]) // 4, 1)
        ids = np.array(self._miditok.encode(clean).ids, dtype=np.int64)
        return [int(i) for i in self.tables.shorten_overlaps(ids)]

    def _knows(self, signature: Any) -> bool:
        return (signature.numerator, signature.denominator) in self.settings.time_signatures

    def decode_list(self, ids: list[int]) -> Score:
        """Decode complete ids without special ones; a pedal that is still down at the end is released.

        An instrument with pedals and no notes is left out: a MIDI file would not contain its program.
        """
        from miditok import TokSequence
        from symusic import Pedal

        score = self._miditok.decode(TokSequence(ids=ids))
        score.tracks = [track for track in score.tracks if len(track.notes)]
        end = score.end()
        tracks = {-1 if track.is_drum else track.program: track for track in score.tracks}
        for program, tick in self._pedals_left_down(ids).items():
            if program in tracks and end > tick:
                tracks[program].pedals.append(Pedal(tick, end - tick))
        return score

    def _pedals_left_down(self, ids: list[int]) -> dict[int, int]:
        down: dict[int, int] = {}
        for moment in self.walk(ids):
            program = int(self.tables.number[moment.id]) - 1
            if moment.kind == Kind.Pedal:
                down.setdefault(program, moment.tick)
            elif moment.kind == Kind.PedalOff:
                down.pop(program, None)
        return down

    def whole_length(self, ids: list[int]) -> int:
        """Return the number of ids before an incomplete event."""
        for length in range(len(ids), 0, -1):
            if self.tables.kind[ids[length - 1]] in (
                Kind.Duration,
                Kind.TimeSig,
                Kind.Tempo,
                Kind.Pedal,
                Kind.PedalOff,
            ):
                return length
        return 0

    # Time

    def clock(self, piece: Score | None, split_index: int, ids: list[int], tempo: float | None = None) -> Clock:
        """Return the clock of a prompt: that of its file up to the split point at which its ids end, then of its
        prevailing tempo.

        Args:
            piece: The prompt; None if there is none.
            split_index: Split point in ticks of the piece.
            ids: Ids without special ones.
            tempo: Requested tempo in beats per minute from the split point on.
        """
        tables = self.tables
        start, pace = DEFAULT_TEMPO, None
        quarter, per_tick = tables.ticks_per_quarter, tables.default_seconds_per_tick
        clock = replace(Clock.of_sections([(0.0, 0.0, per_tick)], quarter), split_point=0.0)
        if piece is not None:
            *_, last = self.walk(ids)
            pace, clock = pace_of(piece, split_index), replace(file_clock(piece, quarter), split_point=last.tick)
            # If both have the same id, no id would restore the tempo.
            same = tables.nearest_tempo(pace.last) == tables.nearest_tempo(pace.prevailing)
            start = pace.prevailing if same else pace.last
        true = tempo or (start if pace is None else pace.prevailing)
        nominal = float(tables.beats_per_minute[tables.nearest_tempo(true)])
        return replace(clock, pace=pace, start=start, scale=true / nominal if pace or tempo else 1.0)

    def tempos_after(self, prompt: list[int], ids: list[int], clock: Clock) -> list[tuple[int, int]]:
        """Return the tempos of a continuation as (tick, microseconds per quarter), the first of them at the split
        point."""
        found = [(int(clock.split_point), round(60e6 / clock.start))]
        for index, moment in enumerate(self.walk([*prompt, *ids], clock)):
            if moment.kind == Kind.Tempo and index >= len(prompt):
                found.append((moment.tick, round(1e6 * self.tables.ticks_per_quarter * moment.seconds_per_tick)))
        return found

    def walk(self, ids: list[int], clock: Clock | None = None) -> Iterator[RemiEvent]:
        """Yield the position of each id, with its time by a clock, or by the ids alone."""
        if not ids:
            return
        tables, array = self.tables, np.array(ids, dtype=np.int64)
        places = tables.places(array)
        tempos = tables.seconds_per_tick if clock is None else tables.tempos_of(clock)
        seconds, seconds_per_tick = 0.0, tables.default_seconds_per_tick if clock is None else clock.per_tick_at(0)
        before = 0
        columns = (tables.kind[array], places.tick, places.bar, places.position, places.unit, places.program)
        for i, number, tick, bar, position, unit, program in zip(
            ids, *(column.tolist() for column in columns), strict=True
        ):
            if clock is None or before >= clock.split_point:
                seconds += (tick - before) * seconds_per_tick
            elif tick != before:
                # Up to the split point the tempos of the file apply, whatever the ids say.
                seconds = clock.at(min(tick, clock.split_point))
                seconds_per_tick = clock.per_tick_at(tick)
                seconds += max(tick - clock.split_point, 0) * seconds_per_tick
            if number == Kind.Tempo and (clock is None or tick >= clock.split_point):
                seconds_per_tick = float(tempos[i])
            before = tick
            yield RemiEvent(i, Kind(number), tick, seconds, seconds_per_tick, bar, position, unit, program)

    def split_ids(self, ids: list[int], seconds: float | None, clock: Clock) -> tuple[list[int], int, float]:
        """Return the ids up to the bar line at which a piece is to be continued, including the id of that bar.

        This is the last bar line up to `seconds` with notes before it; for None, or beyond the end, the one after the
        last event. Returns ids, tick and seconds of the split point, by the clock of the piece.
        """
        moments = list(self.walk(ids, clock))
        limit = float("inf") if seconds is None else seconds
        lines = [index for index, moment in enumerate(moments) if moment.kind == Kind.Bar]
        first_note = next(index for index, moment in enumerate(moments) if moment.kind == Kind.Duration)
        fitting = [index for index in lines if index > first_note and moments[index].seconds <= limit + 1e-6]
        signature = next((i for i in reversed(ids) if self.tables.kind[i] == Kind.TimeSig), self.tables.common_time)
        end = moments[lines[-1]].tick + int(self.tables.bar_ticks[signature])
        end_seconds = clock.at(end)
        later = [index for index in lines if index > first_note]
        if end_seconds <= limit + 1e-6 or not later:
            return [*ids, int(self.tables.ids[Kind.Bar][0])], end, end_seconds
        at = fitting[-1] if fitting else later[0]
        return ids[: at + 1], moments[at].tick, moments[at].seconds

    def last_tick(self, ids: list[int]) -> int:
        """Return the tick of the last of some ids."""
        *_, last = self.walk(ids)
        return last.tick

    def count_bars(self, ids: Ids, *, in_use: bool = False) -> int:
        """Count the bars that begin in ids (T, 1); with `in_use`, without those at the end that are empty."""
        begins = np.isin(ids[:, 0], self.tables.ids[Kind.Bar])
        if in_use:
            begins = begins[: np.flatnonzero(~begins).max(initial=0)]
        return int(begins.sum())

    def half_step(self, ids: list[int]) -> float:
        """Return half a position in the last bar before the split point at which the ids end, in ticks."""
        signature = next(i for i in reversed(ids) if self.tables.kind[i] == Kind.TimeSig)
        return float(self.tables.position_ticks[signature]) / 2

    # Meaning

    def file_notes(self, piece: Score) -> FileNotes:
        """Return the notes of a piece as in its file, in ticks of ids; drums are player -1."""
        ratio = self.tables.ticks_per_quarter / piece.ticks_per_quarter
        tracks = ((-1 if track.is_drum else track.program, track) for track in merge_tracks(piece))
        return FileNotes(tracks, lambda ticks: ticks * ratio)

    def describe_list(
        self, ids: list[int], clock: Clock | None = None, prompt_length: int = 0, file: FileNotes | None = None
    ) -> list[Token]:
        """Describe every id. The ids of a note share its index and span."""
        tables, tokens = self.tables, list[Token]()
        note, first = -1, 0
        heard = [(0.0, 0.0, tables.default_seconds_per_tick)] if clock is None else clock.sections
        ends: list[tuple[range, float]] = []
        for index, moment in enumerate(self.walk(ids, clock)):
            if moment.kind in (Kind.Pitch, Kind.PitchDrum):
                note, first = note + 1, index
            elif moment.kind == Kind.Tempo and (clock is None or moment.tick >= clock.split_point):
                heard.append((moment.tick, moment.seconds, moment.seconds_per_tick))
            elif moment.kind == Kind.Duration:
                end: float | None = None
                if file is not None and index < prompt_length:
                    drum = tables.kind[ids[first]] == Kind.PitchDrum
                    player, pitch = -1 if drum else moment.program - 1, int(tables.number[ids[first]])
                    end = file.end(player, pitch, moment.tick, tables.ticks_per_quarter / 8)
                if end is None:
                    end = moment.tick + int(tables.duration_ticks[moment.unit, moment.id])
                ends.append((range(first, index + 1), end))
            inside = moment.kind in (Kind.Pitch, Kind.PitchDrum, Kind.Velocity, Kind.Duration)
            label, kind = self._label(moment)
            if clock is not None and moment.kind == Kind.Tempo:
                # The tempo of the file, of which the id is the nearest one of the vocabulary.
                label = f"{round(60.0 / (moment.seconds_per_tick * tables.ticks_per_quarter), 1):g} bpm"
            tokens.append(
                Token(
                    id=moment.id,
                    label=label,
                    kind=kind,
                    start=moment.seconds,
                    end=moment.seconds,
                    note=note if inside and note >= 0 else None,
                    value=int(tables.number[moment.id]) if kind in ("pitch", "drum") else None,
                )
            )
        # A note may end at a later tempo than it began.
        whole = Clock.of_sections(heard, tables.ticks_per_quarter)
        for members, tick in ends:
            end = whole.at(tick)
            for member in members:
                tokens[member] = replace(tokens[member], end=end)
        return tokens

    def _label(self, moment: RemiEvent) -> tuple[str, str]:
        number = int(self.tables.number[moment.id])
        value = self.entries.values[moment.id]
        grid = self.settings.positions_per_beat
        match moment.kind:
            case Kind.Pitch:
                return pitch_name(number), "pitch"
            case Kind.PitchDrum:
                return drum_name(number), "drum"
            case Kind.Velocity:
                return f"velocity {number}", "velocity"
            case Kind.Duration:
                beat, part, bins = (int(piece) for piece in value.split("."))
                return f"{beat + part / bins:.4g} beats", "duration"
            case Kind.Bar:
                return f"bar {moment.bar}", "bar"
            case Kind.Position:
                return f"beat {number / grid + 1:.4g}", "position"
            case Kind.Tempo:
                return f"{float(value):g} bpm", "tempo"
            case Kind.TimeSig:
                return value, "time signature"
            case Kind.Program:
                return program_name(number - 1), "program"
            case Kind.Pedal:
                return f"pedal down, {program_name(number - 1)}", "pedal"
            case Kind.PedalOff:
                return f"pedal up, {program_name(number - 1)}", "pedal"
            case _:
                return {Kind.PAD: "pad", Kind.BOS: "begin", Kind.EOS: "end"}[moment.kind], "special"

    # Continuing

    def grammar(
        self, prompt: Ids, candidates: int, constraints: MidiConstraints | None = None, clock: Clock | None = None
    ) -> RemiGrammar:
        """See `Domain.grammar`."""
        return RemiGrammar(self.tables, self._follow, prompt, candidates, constraints, clock)

    def transposed(self, semitones: int) -> tuple[Ids, NDArray[np.bool_]]:
        """Return (V,) ids with every pitch transposed and drums unchanged, and (V,) bool, false if a pitch leaves 0 to
        127."""
        return shifted(len(self.entries), [self.tables.ids[Kind.Pitch]], semitones)


def shifted(size: int, families: list[Ids], semitones: int) -> tuple[Ids, NDArray[np.bool_]]:
    """Return the map that transposes the 128 ids of each family, and where it is valid."""
    ids, valid = np.arange(size), np.ones(size, dtype=bool)
    pitches = np.arange(128) + semitones
    inside = (pitches >= 0) & (pitches < 128)
    for family in families:
        ids[family[inside]] = family[pitches[inside]]
        valid[family[~inside]] = False
    return ids, valid
