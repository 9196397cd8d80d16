"""The domain of MIDI: its files, prompts, grammar, measures and sound."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Constraints, Grammar, Ids, Prompt, Tokenizer, Variations, Waveform
from muse_tokenizers.built_in import ANCHORS, BUILT_IN
from muse_tokenizers.domain import EMBEDDED, Domain
from muse_tokenizers.domain_info import DomainInfo
from muse_tokenizers.errors import Warn, warn_about_file
from muse_tokenizers.levels import LOUDNESS
from muse_tokenizers.measures import CopyThreshold, CopyUnits, Measure
from muse_tokenizers.midi.clock import file_clock
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.copying import copy_numbers, copy_onsets
from muse_tokenizers.midi.earlier import first_track_like
from muse_tokenizers.midi.joining import Find, clip_score, find_part, join_in_beats, join_in_seconds, with_tempos
from muse_tokenizers.midi.measures import longest_silence, measure_beats, measure_notes
from muse_tokenizers.midi.parts import PartsTokenizer
from muse_tokenizers.midi.parts_encoding import PartsEvents
from muse_tokenizers.midi.parts_vocabulary import TICKS
from muse_tokenizers.midi.performance import PerformanceTokenizer
from muse_tokenizers.midi.playing import instrument_parts
from muse_tokenizers.midi.reading import parse_score, read_score
from muse_tokenizers.midi.remi import RemiTokenizer
from muse_tokenizers.midi.scores import score_in_ticks, score_seconds
from muse_tokenizers.midi.segments import take_segment
from muse_tokenizers.midi.synthesis import SAMPLE_RATE, describe_soundfont, render_between, render_score
from muse_tokenizers.midi.tempo_map import TempoMap
from muse_tokenizers.midi.tokenizer import MidiTokenizer, clock_of
from muse_tokenizers.midi.writing import dump_score, write_score

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["MidiDomain", "PartsDomain", "PerformanceDomain", "RemiDomain"]


class MidiDomain(Domain["Score"]):
    """The domain of scores: `RemiDomain` or `PerformanceDomain`."""

    tokenizer: MidiTokenizer
    info: ClassVar[DomainInfo] = BUILT_IN["midi"]
    copy_threshold: ClassVar[CopyThreshold] = ("bars", 2.0)
    constraints_type: ClassVar[type[Constraints]] = MidiConstraints
    sound_rate = SAMPLE_RATE

    @classmethod
    def of(cls, tokenizer: Tokenizer[Score]) -> MidiDomain:
        return next(domain(tokenizer) for kind, domain in _DOMAINS if isinstance(tokenizer, kind))

    # Files

    def read(self, path: str | Path, *, limit: float | None = None, warn: Warn = warn_about_file) -> Score:
        return read_score(Path(path), warn)

    def write(self, piece: Score, path: str | Path) -> None:
        write_score(piece, Path(path))

    def dumps(self, piece: Score) -> bytes:
        return dump_score(piece)

    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> Score:
        return parse_score(data, name, warn)

    def piece_of(self, value: Any) -> Score | None:
        return score_in_ticks(value) if hasattr(value, "ticks_per_quarter") and hasattr(value, "ttype") else None

    def duration(self, piece: Score) -> float:
        return score_seconds(piece)

    def parts(self, piece: Score) -> list[tuple[str, Score]]:
        return instrument_parts(piece)

    def render(
        self, piece: Score, soundfont: str | Path | None = None, loudness: float | None = LOUDNESS
    ) -> Waveform | None:
        return render_score(piece, soundfont, loudness)

    def render_between(
        self, piece: Score, start: float, end: float, soundfont: str | Path | None = None
    ) -> Waveform | None:
        return render_between(piece, start, end, soundfont)

    def describe_sound(
        self, soundfont: str | Path | None = None, loudness: float | None = LOUDNESS
    ) -> dict[str, Any] | None:
        return describe_soundfont(soundfont) | {"loudness": loudness}

    def labels_after(
        self, ids: Ids, stream: int, others: Sequence[int], prompt: Prompt[Score] | None = None
    ) -> list[str]:
        kinds, labels = self.tokenizer.entries.kinds, []
        for other in others:
            # Only the labels of these ids depend on their position, and describing a long piece for each of the others
            # is slow.
            before = ids if kinds[other] in ("Bar", "Position", "Tempo") else ids[:0]
            listed, clock = [*before[:, 0].tolist(), other], clock_of(prompt and prompt.clock)
            labels.append(self.tokenizer.describe_list(listed, clock)[-1].label)
        return labels

    # Continuing

    def extended(self, prompt: Prompt[Score], ids: Ids) -> Prompt[Score]:
        joined = self.join(prompt, ids)
        # Of a continuation without a prompt that was stopped before its first note, nothing can be kept.
        return self.prompt(joined if joined.note_num() else None)

    def constraints(self, asked: Mapping[str, Any]) -> Constraints:
        given = dict(asked)
        if "instruments" in given:
            given["instruments"] = tuple(given["instruments"])
            if "any" in [name.lower() for name in given["instruments"]]:
                given |= {"instruments": (), "keep_instruments": False}
        if given.get("tempo") == "free":
            given |= {"tempo": None, "keep_tempo": False}
        # 0 means "any".
        given |= {name: given[name] or None for name in ("silence", "repeats") if name in given}
        return super().constraints(given)

    def variations(self) -> Variations:
        return self.tokenizer.variations()

    # What a piece is like

    def measure(self, piece: Score, start: float, end: float) -> dict[str, Measure]:
        return measure_notes(take_segment(piece, start, end))

    def longest_silence(self, piece: Score, start: float, end: float) -> tuple[float, float]:
        begin, length = longest_silence(take_segment(piece, start, end))
        return start + begin, length

    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        segment = take_segment(self.tokenizer.decode(ids), start, end)
        return CopyUnits(numbers=copy_numbers(segment), places=copy_onsets(segment))

    def note_starts(self) -> NDArray[np.bool_]:
        starting = ("Pitch", "PitchDrum", "NoteOn")
        return np.array([kind in starting for kind in self.tokenizer.entries.kinds])


class BarsDomain(MidiDomain):
    """The domain of scores in bars: `PartsDomain` or `RemiDomain`."""

    tokenizer: PartsTokenizer | RemiTokenizer

    def timed(self, prompt: Prompt[Score], constraints: Constraints | None = None) -> Prompt[Score]:
        tempo = MidiConstraints.of(constraints).tempo
        clock = self.tokenizer.clock(prompt.piece, prompt.split_index, self.tokenizer.inner(prompt.ids), tempo)
        return replace(prompt, clock=clock, split_point=clock.at(clock.split_point))

    def join(self, prompt: Prompt[Score], ids: Ids) -> Score:
        whole = self.tokenizer.decode(np.concatenate([prompt.ids, ids]))
        before, clock = self.tokenizer.inner(prompt.ids), clock_of(prompt.clock)
        tempos = None if clock is None else self.tokenizer.tempos_after(before, self.tokenizer.inner(ids), clock)
        if prompt.piece is None:
            return whole if tempos is None else with_tempos(whole, tempos)
        start = self.tokenizer.last_tick(before)
        return join_in_beats(prompt.piece, prompt.split_index, whole, start, tempos, self._find(prompt))

    def _find(self, prompt: Prompt[Score]) -> Find | None:
        """Return what chooses the tracks of new notes; None for all tracks of their instrument."""
        return _find(prompt)

    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar:
        return self.tokenizer.grammar(prompt, candidates, MidiConstraints.of(constraints), clock_of(clock))

    def default_constraints(self) -> MidiConstraints:
        # Few held-out pieces are silent or repeat for longer (EXPERIMENTS.md).
        return MidiConstraints(silence=2.0, repeats=4, keep_instruments=True, keep_tempo=True)

    def measure(self, piece: Score, start: float, end: float) -> dict[str, Measure]:
        segment = take_segment(piece, start, end)
        return measure_notes(segment) | measure_beats(segment)

    def lengths(self, prompt: Prompt[Score], ids: Ids, piece: Score) -> tuple[dict[str, float], dict[str, float]]:
        given, new = super().lengths(prompt, ids, piece)
        # The last id of a prompt begins the first bar of the continuation.
        before = self.tokenizer.count_bars(prompt.ids) - (prompt.piece is not None)
        after = self.tokenizer.count_bars(np.concatenate([prompt.ids[-1:], ids]), in_use=True)
        return given | {"bars": before}, new | {"bars": after}


class SplitIdsDomain(MidiDomain):
    """A domain whose prompts are the first ids of their pieces: `RemiDomain` or `PerformanceDomain`."""

    def prompt(self, piece: Score | None, length: float | None = None) -> Prompt[Score]:
        begin = np.array([[self.tokenizer.begin]], dtype=np.int64)
        if piece is None:
            return self.timed(Prompt(ids=begin, piece=None))
        ids, tick, split_point = self._split(piece, length)
        at = round(self._tick_in(piece, tick))
        kept = np.concatenate([begin, np.array(ids, dtype=np.int64)[:, None]])
        # An onset that is early by less than half a step is in the ids after the split point, and therefore not in the
        # prompt.
        clipped = clip_score(piece, ceil(self._tick_in(piece, tick - self._half_step(ids))))
        return self.timed(Prompt(ids=kept, piece=clipped, split_point=split_point, split_index=at))

    @abstractmethod
    def _split(self, piece: Score, length: float | None) -> tuple[list[int], int, float]:
        """Return the ids up to the split point, and its tick and seconds."""

    @abstractmethod
    def _half_step(self, ids: list[int]) -> float:
        """Return half a step of the time grid at the split point, in ticks of the ids."""

    @abstractmethod
    def _tick_in(self, piece: Score, tick: float) -> float:
        """Convert a tick of the ids to ticks of the piece."""

    def find_split_point(self, piece: Score, length: float) -> float:
        return self._split(piece, length)[2]


class PartsDomain(BarsDomain):
    """The domain of scores in parts."""

    tokenizer: PartsTokenizer

    def prompt(self, piece: Score | None, length: float | None = None) -> Prompt[Score]:
        begin = np.array([[self.tokenizer.begin]], dtype=np.int64)
        if piece is None:
            return self.timed(Prompt(ids=begin, piece=None))
        tables = self.tokenizer.tables
        whole = PartsEvents.of(piece, tables)
        bars, tick, split_point = self._bar_line(whole, piece, length)
        # The header and the parts are those of the prompt, whatever follows it. Its bars are those of the piece: the
        # last one can be shorter than its time signature.
        clipped = clip_score(piece, ceil(self._tick_in(piece, tick - 0.5)))
        ids = PartsEvents.of(clipped, tables, whole.bars_before(bars)).ids(tables, bars=bars)
        kept = np.concatenate([begin, ids[:, None]])
        at = round(self._tick_in(piece, tick))
        return self.timed(Prompt(ids=kept, piece=clipped, split_point=split_point, split_index=at))

    def styled(self, ids: Ids, style: str) -> Ids:
        return self.tokenizer.styled(ids, style)

    def labels_after(
        self, ids: Ids, stream: int, others: Sequence[int], prompt: Prompt[Score] | None = None
    ) -> list[str]:
        listed, clock = ids[:, 0].tolist(), clock_of(prompt and prompt.clock)
        return [self.tokenizer.label_after(listed, other, clock) for other in others]

    def timed(self, prompt: Prompt[Score], constraints: Constraints | None = None) -> Prompt[Score]:
        style = MidiConstraints.of(constraints).style
        return super().timed(replace(prompt, ids=self.styled(prompt.ids, style)) if style else prompt, constraints)

    def default_constraints(self) -> MidiConstraints:
        return replace(super().default_constraints(), hold=ANCHORS)

    def _bar_line(self, events: PartsEvents, piece: Score, length: float | None) -> tuple[int, int, float]:
        """Return the bar line at which a piece is to be continued: number of bars before it, tick and seconds."""
        return self.tokenizer.split(events, length, file_clock(piece, TICKS))

    def find_split_point(self, piece: Score, length: float) -> float:
        return self._bar_line(PartsEvents.of(piece, self.tokenizer.tables), piece, length)[2]

    def _tick_in(self, piece: Score, tick: float) -> float:
        return _without_rounding_error(tick * piece.ticks_per_quarter / TICKS)

    def _find(self, prompt: Prompt[Score]) -> Find | None:
        return find_part


class RemiDomain(BarsDomain, SplitIdsDomain):
    """The domain of scores in bars and positions."""

    tokenizer: RemiTokenizer

    def _split(self, piece: Score, length: float | None) -> tuple[list[int], int, float]:
        clock = file_clock(piece, self.tokenizer.tables.ticks_per_quarter)
        return self.tokenizer.split_ids(self.tokenizer.encode_list(piece), length, clock)

    def _half_step(self, ids: list[int]) -> float:
        return self.tokenizer.half_step(ids)

    def _tick_in(self, piece: Score, tick: float) -> float:
        return _without_rounding_error(tick * piece.ticks_per_quarter / self.tokenizer.tables.ticks_per_quarter)


class PerformanceDomain(SplitIdsDomain):
    """The domain of scores in real time. Their ids have no beats: half seconds take their place."""

    tokenizer: PerformanceTokenizer

    def _split(self, piece: Score, length: float | None) -> tuple[list[int], int, float]:
        return self.tokenizer.split_ids(self.tokenizer.encode_list(piece), length)

    def _half_step(self, ids: list[int]) -> float:
        return 0.5

    def _tick_in(self, piece: Score, tick: float) -> float:
        return _without_rounding_error(TempoMap(piece).ticks(tick * self.tokenizer.tick_seconds))

    def join(self, prompt: Prompt[Score], ids: Ids) -> Score:
        whole = self.tokenizer.decode(np.concatenate([prompt.ids, ids]))
        if prompt.piece is None:
            return whole
        split_point = round(prompt.split_point / self.tokenizer.tick_seconds)
        return join_in_seconds(prompt.piece, prompt.split_index, whole, split_point, _find(prompt))

    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar:
        return self.tokenizer.grammar(prompt, candidates, MidiConstraints.of(constraints))

    def default_constraints(self) -> MidiConstraints:
        return MidiConstraints(silence=2.0)

    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        found = super().copy_units(ids, start, end)
        found.places[:, 1] = np.nan
        return found


def _find(prompt: Prompt[Score]) -> Find | None:
    return None if prompt.divided else first_track_like


def _without_rounding_error(tick: Any) -> float:
    """Remove rounding errors, which rounding up would turn into a tick."""
    return round(float(tick), 3)


_DOMAINS: tuple[tuple[type[MidiTokenizer], type[MidiDomain]], ...] = (
    (PartsTokenizer, PartsDomain),
    (RemiTokenizer, RemiDomain),
    (PerformanceTokenizer, PerformanceDomain),
)
