"""The tokenizer of scores in parts: times of the ids in a file, their meaning, and their augmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Ids, Token, Variations
from muse_tokenizers.built_in import STYLES
from muse_tokenizers.midi.clock import Clock, file_clock, pace_of
from muse_tokenizers.midi.configuration import CONFIGURATIONS, MidiConfiguration
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.file_notes import FileNotes
from muse_tokenizers.midi.parts_encoding import PartsEvents, decode_parts, encode_parts, players, prevailing_tempo
from muse_tokenizers.midi.parts_grammar import PartsGrammar
from muse_tokenizers.midi.parts_labels import parts_label
from muse_tokenizers.midi.parts_reading import PartsReading
from muse_tokenizers.midi.parts_vocabulary import TICKS, WHOLE, PartsKind, PartsTables, parts_vocabulary
from muse_tokenizers.midi.remi import shifted
from muse_tokenizers.midi.tokenizer import MidiTokenizer

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["PartsTokenizer"]

_LOUDER = (0, -3, 3)
"""Shifts of velocities for augmentation, in bins of 4."""
_FASTER = (0, -2, -1, 1, 2)
"""Shifts of the base tempo for augmentation, in steps of 6 %."""


class PartsTokenizer(MidiTokenizer):
    """Encodes scores as bars, positions and players; see `muse_tokenizers.midi.parts_vocabulary`."""

    def __init__(self, configuration: MidiConfiguration = CONFIGURATIONS["parts"]) -> None:
        super().__init__(configuration, parts_vocabulary())
        self.tables = PartsTables(self.entries)

    # Scores

    def encode_list(self, score: Score) -> list[int]:
        return [int(i) for i in encode_parts(score, self.tables)]

    def encode(self, piece: Score) -> Ids:
        return encode_parts(piece, self.tables)[:, None]

    def decode_list(self, ids: list[int]) -> Score:
        return decode_parts(np.array(ids, dtype=np.int64), self.tables)

    def whole_length(self, ids: list[int]) -> int:
        """Return the number of ids before an incomplete event."""
        kind = self.tables.kind[np.array(ids, dtype=np.int64)]
        whole = np.isin(kind, WHOLE)
        whole[1:] |= (kind[1:] == PartsKind.Velocity) & (kind[:-1] == PartsKind.PitchDrum)
        return int(np.flatnonzero(whole).max(initial=-1)) + 1

    def styled(self, ids: Ids, style: str) -> Ids:
        """Return ids (T, 1) of a piece with its style set, one of `STYLES`."""
        ids = ids.copy()
        ids[np.isin(ids, self.tables.ids[PartsKind.Style])] = self.tables.first[PartsKind.Style] + STYLES.index(style)
        return ids

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
        if piece is None:
            clock = replace(Clock.of_sections([(0.0, 0.0, 60.0 / 120.0 / TICKS)], TICKS), split_point=0.0)
            if tempo is None:
                return clock
            nominal = float(tables.beats_per_minute[tables.nearest_base(tempo)])
            return replace(clock, start=tempo, scale=tempo / nominal)
        reading = PartsReading(np.array(ids, dtype=np.int64), tables)
        pace = pace_of(piece, split_index)
        prevailing = prevailing_tempo(piece, reading.whole_bars)
        here, last = tables.nearest_ratios(np.array([pace.prevailing, pace.last]) / prevailing)
        start = pace.prevailing if here == last else pace.last
        return replace(
            file_clock(piece, TICKS),
            split_point=float(reading.tick[-1]),
            pace=pace,
            start=tempo or start,
            scale=(tempo or pace.prevailing) / (reading.base * float(tables.ratio[here])),
        )

    def tempos_after(self, prompt: list[int], ids: list[int], clock: Clock) -> list[tuple[int, int]]:
        """Return the tempos of a continuation as (tick, microseconds per quarter), the first of them at the split
        point."""
        reading = PartsReading(np.array([*prompt, *ids], dtype=np.int64), self.tables)
        start = clock.start if prompt else reading.base * clock.scale
        new = np.flatnonzero(reading.kind == PartsKind.Tempo)
        new = new[new >= len(prompt)]
        tempos = self.tables.ratio[reading.ids[new]] * reading.base * clock.scale
        found = zip(reading.tick[new].tolist(), np.rint(60e6 / tempos).astype(int).tolist(), strict=True)
        return [(int(clock.split_point), round(60e6 / start)), *found]

    def sections(self, reading: PartsReading, clock: Clock | None) -> Clock:
        """Return the times of all ticks of some ids, by the clock of their prompt or by the ids alone."""
        tempos, scale = reading.tempos(), 1.0 if clock is None else clock.scale
        sections = list[tuple[float, float, float]]()
        if clock is not None and clock.pace is not None:
            # Up to the split point the tempos of the file apply, whatever the ids say.
            sections = clock.sections
            tempos = [(tick, tempo) for tick, tempo in tempos if tick >= clock.split_point]
        for tick, tempo in tempos:
            before, seconds, rate = sections[-1] if sections else (0.0, 0.0, 0.0)
            per_tick = round(60e6 / (tempo * scale)) / 1e6 / TICKS
            sections.append((tick, seconds + (tick - before) * rate, per_tick))
        return Clock.of_sections(sections, TICKS)

    def split(self, events: PartsEvents, seconds: float | None, clock: Clock) -> tuple[int, int, float]:
        """Return the bar line at which a piece is to be continued, as number of bars before it, tick and seconds.

        This is the last bar line up to `seconds` with notes before it; for None, or beyond the end, the one after the
        last event.
        """
        lines = [*events.lines.tolist(), events.end]
        limit = float("inf") if seconds is None else seconds + 1e-6
        first = int(events.first_note)
        later = [number for number, tick in enumerate(lines) if tick > first]
        fitting = [number for number in later if clock.at(lines[number]) <= limit]
        at = fitting[-1] if fitting else later[0]
        return at, lines[at], clock.at(lines[at])

    def last_tick(self, ids: list[int]) -> int:
        """Return the tick of the last of some ids."""
        return int(PartsReading(np.array(ids, dtype=np.int64), self.tables).tick[-1])

    def count_bars(self, ids: Ids, *, in_use: bool = False) -> int:
        """Count the bars that begin in ids (T, 1); with `in_use`, without those at the end that are empty."""
        begins = ids[:, 0] == self.tables.first[PartsKind.Bar]
        if in_use:
            begins = begins[: np.flatnonzero(~begins).max(initial=0)]
        return int(begins.sum())

    # Meaning

    def file_notes(self, piece: Score) -> FileNotes:
        """Return the notes of a piece as in its file, in ticks of ids."""
        ratio = TICKS / piece.ticks_per_quarter
        return FileNotes(players(piece), lambda ticks: ticks * ratio)

    def label_after(self, ids: list[int], other: int, clock: Clock | None = None) -> str:
        """Return the label of an id that follows some ids."""
        reading = PartsReading(np.array([*ids, other], dtype=np.int64), self.tables)
        return parts_label(reading, len(ids), self.tables, clock)[0]

    def describe_list(
        self, ids: list[int], clock: Clock | None = None, prompt_length: int = 0, file: FileNotes | None = None
    ) -> list[Token]:
        """Describe every id. The ids of a note share its index and span."""
        reading = PartsReading(np.array(ids, dtype=np.int64), self.tables)
        times = self.sections(reading, clock)
        seconds = times.many(reading.tick)
        tokens = []
        for index, (i, at) in enumerate(zip(ids, seconds.tolist(), strict=True)):
            label, kind, value = parts_label(reading, index, self.tables, clock)
            tokens.append(Token(id=i, label=label, kind=kind, start=at, end=at, value=value))
        notes = reading.notes
        ends = (notes.tick + notes.ticks).astype(np.float64)
        if file is not None:
            for number in np.flatnonzero(notes.last < prompt_length).tolist():
                place = int(notes.player[number]), int(notes.pitch[number]), int(notes.tick[number])
                found = file.end(*place, TICKS / 8)
                ends[number] = ends[number] if found is None else found
        spans = zip(notes.first.tolist(), notes.last.tolist(), times.many(ends).tolist(), strict=True)
        for number, (first, last, end) in enumerate(spans):
            for member in range(first, last + 1):
                tokens[member] = replace(tokens[member], note=number, end=end)
        return tokens

    # Continuing

    def grammar(
        self, prompt: Ids, candidates: int, constraints: MidiConstraints | None = None, clock: Clock | None = None
    ) -> PartsGrammar:
        """See `Domain.grammar`."""
        return PartsGrammar(self.tables, prompt[:, 0], candidates, constraints or MidiConstraints(), clock)

    def transposed(self, semitones: int) -> tuple[Ids, NDArray[np.bool_]]:
        return shifted(len(self.entries), [self.tables.ids[PartsKind.Pitch]], semitones)

    def variations(self) -> Variations:
        """Return all combinations of transposition, tempo, velocity, and a style or none."""
        maps, valid = list[Any](), list[Any]()
        for semitones in self.settings.transpositions:
            ids, inside = self.transposed(semitones)
            for faster in _FASTER:
                for louder in _LOUDER:
                    for style in (True, False):
                        changed = ids.copy()
                        for kind, step in ((PartsKind.BaseTempo, faster), (PartsKind.Velocity, louder)):
                            own = self.tables.ids[kind]
                            changed[own] = own[np.clip(np.arange(len(own)) + step, 0, len(own) - 1)]
                        if not style:
                            changed[self.tables.ids[PartsKind.Style]] = self.tables.first[PartsKind.Style]
                        maps.append(changed)
                        valid.append(inside)
        return Variations(maps=np.stack(maps), valid=np.stack(valid))
