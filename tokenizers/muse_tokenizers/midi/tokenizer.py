"""The MIDI domain behind the one interface of `muse_tokenizers.base`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import EMBEDDED, Constraints, Grammar, Ids, Prompt, Token, Tokenizer, Variations, Waveform
from muse_tokenizers.errors import Warn, warn_about_file
from muse_tokenizers.levels import LOUDNESS
from muse_tokenizers.measures import CopyThreshold, CopyUnits, Measure
from muse_tokenizers.midi.clock import Clock, file_clock
from muse_tokenizers.midi.configuration import CONFIGURATIONS, MidiConfiguration
from muse_tokenizers.midi.copying import copy_numbers, copy_onsets
from muse_tokenizers.midi.earlier import first_track_like
from muse_tokenizers.midi.file_notes import FileNotes
from muse_tokenizers.midi.joining import clip_score, join_in_beats, join_in_seconds, with_tempos
from muse_tokenizers.midi.measures import measure_beats, measure_notes
from muse_tokenizers.midi.performance import PerformanceScheme
from muse_tokenizers.midi.reading import parse_score, read_score
from muse_tokenizers.midi.remi import RemiScheme
from muse_tokenizers.midi.scores import score_seconds
from muse_tokenizers.midi.segments import take_segment
from muse_tokenizers.midi.synthesis import SAMPLE_RATE, describe_soundfont, render_between, render_score
from muse_tokenizers.midi.tempo_map import TempoMap
from muse_tokenizers.midi.writing import dump_score, write_score
from muse_tokenizers.suffixes import MIDI

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["MidiTokenizer"]


class MidiTokenizer(Tokenizer["Score"]):
    """Scores to ids and back, in one of two forms: bars and positions, or events in real time."""

    kind: ClassVar[str] = "midi"
    suffixes: ClassVar[frozenset[str]] = MIDI
    suffix: ClassVar[str] = ".mid"
    counted: ClassVar[str] = "notes"
    copy_threshold: ClassVar[CopyThreshold] = ("bars", 2.0)

    streams = 1
    steps_per_second = None
    sound_rate = SAMPLE_RATE

    def __init__(self, configuration: MidiConfiguration = CONFIGURATIONS["remi"]) -> None:
        self._configuration = configuration
        self._scheme: RemiScheme | PerformanceScheme
        self._scheme = RemiScheme(configuration) if configuration.scheme == "remi" else PerformanceScheme(configuration)
        names = self._scheme.vocabulary.names
        self.vocabulary_size = len(names)
        self.pad, self.begin, self.end = (names.index(name) for name in ("PAD_None", "BOS_None", "EOS_None"))

    # Files

    def read(self, path: Path, *, limit: float | None = None, warn: Warn = warn_about_file) -> Score:
        return read_score(path, warn)

    def write(self, piece: Score, path: Path) -> None:
        write_score(piece, path)

    def dumps(self, piece: Score) -> bytes:
        return dump_score(piece)

    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> Score:
        return parse_score(data, name, warn)

    def duration(self, piece: Score) -> float:
        return score_seconds(piece)

    def render(self, piece: Score, soundfont: Path | None = None, loudness: float | None = LOUDNESS) -> Waveform | None:
        return render_score(piece, soundfont, loudness)

    def render_between(self, piece: Score, start: float, end: float, soundfont: Path | None = None) -> Waveform | None:
        return render_between(piece, start, end, soundfont)

    def describe_sound(self, soundfont: Path | None = None, loudness: float | None = LOUDNESS) -> dict[str, Any] | None:
        return describe_soundfont(soundfont) | {"loudness": loudness}

    # Ids

    def encode(self, piece: Score) -> Ids:
        return np.array(self._scheme.encode(piece), dtype=np.int64)[:, None]

    def decode(self, ids: Ids) -> Score:
        inner = self._inner(ids)
        return self._scheme.decode(inner[: self._scheme.whole_length(inner)])

    def describe(self, ids: Ids, prompt: Prompt[Score] | None = None) -> list[list[Token]]:
        file = self._scheme.file_notes(prompt.piece) if prompt and prompt.piece is not None else None
        return [[token] for token in self._described(ids, prompt, file)]

    def _described(self, ids: Ids, prompt: Prompt[Score] | None, file: FileNotes | None = None) -> list[Token]:
        listed, given = [int(i) for i in ids[:, 0]], len(prompt.ids) if prompt else 0
        if isinstance(self._scheme, RemiScheme):
            return self._scheme.describe(listed, _clock(prompt and prompt.clock), given, file)
        return self._scheme.describe(listed, given, file)

    def labels_after(
        self, ids: Ids, stream: int, others: Sequence[int], prompt: Prompt[Score] | None = None
    ) -> list[str]:
        kinds, labels = self._scheme.vocabulary.kinds, []
        for other in others:
            # Only these are called by where they stand, and to describe a long piece for each of the rest takes long.
            before = ids if kinds[other] in ("Bar", "Position", "Tempo") else ids[:0]
            labels.append(self._described(np.concatenate([before, [[other]]]), prompt)[-1].label)
        return labels

    def _inner(self, ids: Ids) -> list[int]:
        """The ids that are not special."""
        return [int(i) for i in ids[:, 0] if i not in (self.pad, self.begin, self.end)]

    # Continuing

    def prompt(self, piece: Score | None, length: float | None = None) -> Prompt[Score]:
        begin = np.array([[self.begin]], dtype=np.int64)
        if piece is None:
            return self.timed(Prompt(ids=begin, piece=None))
        ids, tick, split_point = self._split(piece, length)
        at = round(self._tick_in(piece, tick))
        kept = np.concatenate([begin, np.array(ids, dtype=np.int64)[:, None]])
        # What is early by less than half a step is in the ids at the split point, and so not in the prompt.
        clipped = clip_score(piece, ceil(self._tick_in(piece, tick - self._scheme.half_step(ids))))
        return self.timed(Prompt(ids=kept, piece=clipped, split_point=split_point, split_index=at))

    def _split(self, piece: Score, length: float | None) -> tuple[list[int], int, float]:
        """Ids up to the split point, its tick and its seconds."""
        ids = self._scheme.encode(piece)
        if isinstance(self._scheme, RemiScheme):
            return self._scheme.split_ids(ids, length, file_clock(piece, self._scheme.tables.ticks_per_quarter))
        return self._scheme.split_ids(ids, length)

    def timed(self, prompt: Prompt[Score], constraints: Constraints | None = None) -> Prompt[Score]:
        if not isinstance(self._scheme, RemiScheme):
            return prompt
        tempo = None if constraints is None else constraints.tempo
        clock = self._scheme.clock(prompt.piece, prompt.split_index, self._inner(prompt.ids), tempo)
        return replace(prompt, clock=clock, split_point=clock.at(clock.split_point))

    def extended(self, prompt: Prompt[Score], ids: Ids) -> Prompt[Score]:
        joined = self.join(prompt, ids)
        # Of a continuation from nothing that was stopped before its first note nothing can be kept.
        return self.prompt(joined if joined.note_num() else None)

    def find_split_point(self, piece: Score, length: float) -> float:
        return self._split(piece, length)[2]

    def _tick_in(self, piece: Score, tick: float) -> float:
        """A tick of the ids counted in ticks of the piece."""
        if isinstance(self._scheme, RemiScheme):
            found = tick * piece.ticks_per_quarter / self._scheme.tables.ticks_per_quarter
        else:
            found = TempoMap(piece).ticks(tick * self._scheme.tick_seconds)
        # Without the hairs of floating point, which rounding up would take for a tick.
        return round(float(found), 3)

    def join(self, prompt: Prompt[Score], ids: Ids) -> Score:
        whole = self.decode(np.concatenate([prompt.ids, ids]))
        clock = _clock(prompt.clock)
        find = None if prompt.divided else first_track_like
        if isinstance(self._scheme, RemiScheme):
            before = self._inner(prompt.ids)
            tempos = None if clock is None else self._scheme.tempos_after(before, self._inner(ids), clock)
            if prompt.piece is None:
                return whole if tempos is None else with_tempos(whole, tempos)
            *_, last = self._scheme.walk(before)
            return join_in_beats(prompt.piece, prompt.split_index, whole, last.tick, tempos, find)
        if prompt.piece is None:
            return whole
        start = round(prompt.split_point / self._scheme.tick_seconds)
        return join_in_seconds(prompt.piece, prompt.split_index, whole, start, find)

    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar:
        # Which of the others a form has it says itself.
        constraints = (constraints or Constraints()).only(
            {field.name for field in fields(Constraints)} - {"bytes"}, "music"
        )
        if isinstance(self._scheme, RemiScheme):
            return self._scheme.grammar(prompt, candidates, constraints, _clock(clock))
        return self._scheme.grammar(prompt, candidates, constraints)

    def default_constraints(self) -> Constraints:
        # Few held-out pieces are silent or repeat for longer (EXPERIMENTS.md).
        if isinstance(self._scheme, PerformanceScheme):
            return Constraints(silence=2.0)
        return Constraints(silence=2.0, repeats=4, keep_instruments=True, keep_tempo=True)

    def variations(self) -> Variations:
        moved = [self._scheme.transposed(semitones) for semitones in self._configuration.transpositions]
        return Variations(maps=np.stack([ids for ids, _ in moved]), valid=np.stack([valid for _, valid in moved]))

    # What a piece is like

    def measure(self, piece: Score, start: float, end: float) -> dict[str, Measure]:
        segment = take_segment(piece, start, end)
        # A performance's ids know no beats: its scores are counted in even half seconds, whatever the music.
        return measure_notes(segment) | (measure_beats(segment) if isinstance(self._scheme, RemiScheme) else {})

    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        segment = take_segment(self.decode(ids), start, end)
        places = copy_onsets(segment)
        if isinstance(self._scheme, PerformanceScheme):
            places[:, 1] = np.nan
        return CopyUnits(numbers=copy_numbers(segment), places=places)

    def note_starts(self) -> NDArray[np.bool_]:
        starting = ("Pitch", "PitchDrum", "NoteOn")
        return np.array([kind in starting for kind in self._scheme.vocabulary.kinds])

    # The tokenizer as data

    def configuration(self) -> dict[str, Any]:
        return self._configuration.to_json()

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> MidiTokenizer:
        return cls(MidiConfiguration.from_json(configuration))

    def vocabulary(self) -> list[str]:
        return list(self._scheme.vocabulary.names)


def _clock(clock: object) -> Clock | None:
    assert clock is None or isinstance(clock, Clock)
    return clock
