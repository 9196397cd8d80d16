"""The common base of the MIDI tokenizers."""

from __future__ import annotations

from abc import abstractmethod
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Ids, NewTokenizer, Prompt, Token, Tokenizer, Variations
from muse_tokenizers.errors import InvalidOptionError
from muse_tokenizers.midi.clock import Clock
from muse_tokenizers.midi.configuration import CONFIGURATIONS, MidiConfiguration
from muse_tokenizers.midi.file_notes import FileNotes
from muse_tokenizers.midi.vocabulary import Vocabulary

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["MidiTokenizer", "clock_of"]

_CLASSES = {"parts": "PartsTokenizer", "remi": "RemiTokenizer", "performance": "PerformanceTokenizer"}
"""Classes by the scheme of a configuration, which is also the name of their module."""


class MidiTokenizer(Tokenizer["Score"]):
    """Encodes scores in bars and positions (`PartsTokenizer`, `RemiTokenizer`), or as events in real time
    (`PerformanceTokenizer`)."""

    kind: ClassVar[str] = "midi"
    streams = 1

    def __init__(self, configuration: MidiConfiguration, entries: Vocabulary) -> None:
        self.settings = configuration
        self.entries = entries
        """Kind and value of each id."""
        names = entries.names
        self.vocabulary_size = len(names)
        self.pad, self.begin, self.end = (names.index(name) for name in ("PAD_None", "BOS_None", "EOS_None"))

    @staticmethod
    def of(configuration: MidiConfiguration) -> MidiTokenizer:
        """Return the tokenizer for the scheme of a configuration."""
        module = import_module(f"muse_tokenizers.midi.{configuration.scheme}")
        tokenizer: MidiTokenizer = getattr(module, _CLASSES[configuration.scheme])(configuration)
        return tokenizer

    @classmethod
    def create(cls, new: NewTokenizer) -> MidiTokenizer:
        name = new.name or new.of_recipe or "parts"
        if name not in CONFIGURATIONS:
            names = ", ".join(CONFIGURATIONS)
            raise InvalidOptionError("tokenizer", name, f"{names}, a checkpoint, or midi, the shipped one")
        return cls.of(CONFIGURATIONS[name])

    # Ids

    def encode(self, piece: Score) -> Ids:
        return np.array(self.encode_list(piece), dtype=np.int64)[:, None]

    def decode(self, ids: Ids) -> Score:
        inner = self.inner(ids)
        return self.decode_list(inner[: self.whole_length(inner)])

    def describe(self, ids: Ids, prompt: Prompt[Score] | None = None) -> list[list[Token]]:
        file = self.file_notes(prompt.piece) if prompt and prompt.piece is not None else None
        prompt_length, clock = len(prompt.ids) if prompt else 0, clock_of(prompt and prompt.clock)
        return [[token] for token in self.describe_list([int(i) for i in ids[:, 0]], clock, prompt_length, file)]

    def inner(self, ids: Ids) -> list[int]:
        """Return the ids that are not special."""
        return [int(i) for i in ids[:, 0] if i not in (self.pad, self.begin, self.end)]

    @abstractmethod
    def encode_list(self, score: Score) -> list[int]:
        """Encode a score."""

    @abstractmethod
    def decode_list(self, ids: list[int]) -> Score:
        """Decode complete ids without special ones."""

    @abstractmethod
    def whole_length(self, ids: list[int]) -> int:
        """Return the number of ids before an incomplete event."""

    @abstractmethod
    def file_notes(self, piece: Score) -> FileNotes:
        """Return the notes of a piece as in its file, in the time steps of the ids."""

    @abstractmethod
    def describe_list(
        self, ids: list[int], clock: Clock | None = None, prompt_length: int = 0, file: FileNotes | None = None
    ) -> list[Token]:
        """Describe every id.

        Args:
            ids: Ids, including special ones.
            clock: Times of their ticks; None for the times of the ids alone.
            prompt_length: Number of ids that belong to a prompt.
            file: Ends of the notes of the prompt; None for those of the ids.
        """

    @abstractmethod
    def transposed(self, semitones: int) -> tuple[Ids, NDArray[np.bool_]]:
        """Return (V,) ids with every pitch transposed and drums unchanged, and (V,) bool, false if a pitch leaves 0 to
        127."""

    def variations(self) -> Variations:
        """Return the transpositions of the configuration."""
        moved = [self.transposed(semitones) for semitones in self.settings.transpositions]
        return Variations(maps=np.stack([ids for ids, _ in moved]), valid=np.stack([valid for _, valid in moved]))

    # The tokenizer as data

    def configuration(self) -> dict[str, Any]:
        return self.settings.to_json()

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> MidiTokenizer:
        return cls.of(MidiConfiguration.from_json(configuration))

    def vocabulary(self) -> list[str]:
        return list(self.entries.names)


def clock_of(clock: object) -> Clock | None:
    """Return `Prompt.clock` with its type for MIDI."""
    assert clock is None or isinstance(clock, Clock)
    return clock
