"""The interface of every domain: what a modality is beyond its ids.

A domain holds a tokenizer. A new one has to say how its pieces become bytes and how long they are; whatever else it
leaves out has a default: its pieces are continued whole, any id may come next, there is no sound, nothing is measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, cast

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Constraints, Grammar, Ids, Piece, Prompt, Span, Tokenizer, Unit, Variations, Waveform
from muse_tokenizers.errors import (
    ConstraintError,
    InvalidConstraintError,
    UnreadablePieceError,
    UnwritablePieceError,
    Warn,
    warn_about_file,
)
from muse_tokenizers.levels import LOUDNESS
from muse_tokenizers.measures import CopyThreshold, CopyUnits, Measure

__all__ = ["EMBEDDED", "Domain", "View"]

EMBEDDED = "the embedded prompt"
"""What messages call a piece that is in no file."""


View = Literal["notes", "sound", "text"]
"""How pieces are shown: notes on a roll, a spectrogram, or words."""


class Domain(ABC, Generic[Piece]):
    """A modality: its files, prompts, grammar, measures and sound."""

    noun: ClassVar[str] = "this domain"
    """What messages call its pieces: "music"."""
    piece_noun: ClassVar[str] = "piece"
    """What messages call one of them: "score"."""
    object_noun: ClassVar[str] = "the object of its domain"
    """What messages call what `piece_of` takes."""
    view: ClassVar[View] = "notes"
    suffixes: ClassVar[frozenset[str]]
    """The file endings `read` is meant for, in lower case with the dot."""
    suffix: ClassVar[str]
    """The ending of what `write` writes."""
    divisible: ClassVar[bool] = False
    """Whether a file, whatever its ending, may be prepared in parts; see `read_part`."""
    words: ClassVar[bool] = False
    """Whether a prompt may be the words themselves: what `loads` takes, in UTF-8."""
    unit: ClassVar[Unit] = "seconds"
    """What places in a piece (durations, split points, segments, spans) are counted in."""
    counted: ClassVar[str] = "tokens"
    """What `copy_units` counts."""
    copy_threshold: ClassVar[CopyThreshold] = ("count", 50)
    constraints_type: ClassVar[type[Constraints]] = Constraints
    default_temperature: ClassVar[float] = 1.0
    """What a new checkpoint is sampled with where nobody says otherwise."""

    steps_per_second: float | None = None
    """Steps a second where they have a fixed length, else None."""
    sound_rate: int | None = None
    """Hz of what `render_between` gives; None for a domain without sound."""
    tokenizer: Tokenizer[Piece]

    def __init__(self, tokenizer: Tokenizer[Piece]) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def of(cls, tokenizer: Tokenizer[Piece]) -> Domain[Piece]:
        """The domain of a tokenizer; of a class that stands for several, the one that fits."""
        return cls(tokenizer)

    @property
    def kind(self) -> str:
        """The name of the domain: "midi"."""
        return self.tokenizer.kind

    # Files

    def read(self, path: Path, *, limit: float | None = None, warn: Warn = warn_about_file) -> Piece:
        """The piece in a file.

        Args:
            path: the file.
            limit: how much of it is wanted from its beginning, in the domain's unit; a domain whose files can be
                large reads no further. None: all of it.
            warn: called with one line for each thing that was repaired or left out.

        Raises:
            UnreadablePieceError: not a piece of this domain, an empty or an endless one.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UnreadablePieceError(f"cannot read {path}: {error.strerror}") from error
        return self.loads(data, str(path), warn=warn)

    def write(self, piece: Piece, path: Path) -> None:
        """Write a piece; the same piece gives the same bytes. Raises UnwritablePieceError."""
        try:
            path.write_bytes(self.dumps(piece))
        except OSError as error:
            raise UnwritablePieceError(f"cannot write {path}: {error.strerror}") from error

    @abstractmethod
    def dumps(self, piece: Piece) -> bytes:
        """The bytes that `write` writes."""

    @abstractmethod
    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> Piece:
        """The piece that `dumps` made these bytes of; `name` is what a message calls it.

        Raises:
            UnreadablePieceError: as of `read`.
        """

    def read_part(self, path: Path, part: Span | None, *, warn: Warn = warn_about_file) -> Piece:
        """`read` of a file or a part of it that is prepared. Raises UnreadablePieceError."""
        return self.read(path, warn=warn)

    def piece_of(self, value: Any) -> Piece | None:
        """The piece that an object of a person's own is; None where it is none.

        Raises:
            UnreadablePieceError: it is nearly one.
        """
        return None

    @abstractmethod
    def duration(self, piece: Piece) -> float:
        """How long a piece is, in the domain's unit."""

    # Sound

    def render(self, piece: Piece, soundfont: Path | None = None, loudness: float | None = LOUDNESS) -> Waveform | None:
        """The piece as sound; None for a domain that has none beside its files.

        Args:
            soundfont: for MIDI; None: the default one.
            loudness: LUFS that one gain brings it to, or as near as its peaks allow; None: as the soundfont has it.
        """
        return None

    def sound(self, piece: Piece, soundfont: Path | None = None, loudness: float | None = LOUDNESS) -> Waveform | None:
        """The piece as it is heard: `render`, or the piece where that is sound already; None where there is none."""
        return self.render(piece, soundfont, loudness)

    def render_between(self, piece: Piece, start: float, end: float, soundfont: Path | None = None) -> Waveform | None:
        """The sound of what begins in [start, end) seconds of a piece, from `start` on; None where a domain has none.

        Parts that are added up where they begin are the whole, so that a piece is heard while it is being made.
        """
        return None

    def describe_sound(self, soundfont: Path | None = None, loudness: float | None = LOUDNESS) -> dict[str, Any] | None:
        """What `render` sounds with, by name and SHA-256, and how loud, for whoever wants to make the same again."""
        return None

    # Continuing

    def prompt(self, piece: Piece | None, length: float | None = None) -> Prompt[Piece]:
        """The first of a piece, so long in the domain's unit, cut where it is whole; all of it for None, nothing but
        begin for no piece."""
        begin = np.full((1, self.tokenizer.streams), self.tokenizer.begin, dtype=np.int64)
        if piece is None:
            return Prompt(ids=begin, piece=None)
        whole = self.duration(piece)
        end = whole if length is None else self.find_split_point(piece, length)
        # A piece that is cut is a sequence, with one item a unit; where it is not, a domain has a `prompt` of its own.
        given: Any = piece if end >= whole else cast(Any, piece)[: round(end)]
        return Prompt(
            ids=np.concatenate([begin, self.tokenizer.encode(given)]),
            piece=given,
            split_point=float(end),
            split_index=round(end),
        )

    def find_split_point(self, piece: Piece, length: float) -> float:
        """Where `prompt(piece, length)` would cut, without its work."""
        end = self.duration(piece)
        if length < end:
            raise ConstraintError(f"a prompt of {self.kind} is continued whole: it cannot be cut after {length:g}")
        return end

    def timed(self, prompt: Prompt[Piece], constraints: Constraints | None = None) -> Prompt[Piece]:
        """A prompt with its clock, which a requested tempo changes from the split point on."""
        return prompt

    def join(self, prompt: Prompt[Piece], ids: Ids) -> Piece:
        """The prompt and `ids` (T, K), decoded, from the split point on. The prompt exactly as it stands in its file,
        where the domain can tell the two apart: sound, say, is decoded from the prompt's ids too, else the change of
        sound would be heard as a seam."""
        return self.tokenizer.decode(np.concatenate([prompt.ids, ids]))

    def joining(self, prompt: Prompt[Piece], steps: Iterable[Ids]) -> Iterator[NDArray[np.float32]] | None:
        """The sound of `join` while the continuation is still being made; None where ids are not sound.

        Args:
            prompt: what is continued.
            steps: (T, K) ids each, one after another.
        """
        return None

    def extended(self, prompt: Prompt[Piece], ids: Ids) -> Prompt[Piece]:
        """A prompt and its continuation `ids` (T, K) as the prompt of a further one."""
        return self.prompt(self.join(prompt, ids))

    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar | None:
        """The ids allowed after a prompt, for that many candidates; None where any may come.

        Args:
            prompt: (T, K), `Prompt.ids`.
            candidates: C.
            constraints: what they keep to.
            partial_frames: `Prompt.partial_frames`, which holds.
            clock: `Prompt.clock`.

        Raises:
            ConstraintError: the domain cannot grant a constraint.
        """
        return None

    def default_constraints(self) -> Constraints:
        """What a continuation should keep to where nobody says otherwise; no length."""
        return self.constraints_type()

    def constraints(self, asked: Mapping[str, Any]) -> Constraints:
        """The constraints that are asked for, by name; the others have their defaults.

        MIDI: among the instruments "any" lifts their default, the tempo "free" that of the tempo, and 0 stands for any
        silence and any repeats.

        Raises:
            ConstraintError: the domain has no constraint of that name, or not this value of it.
        """
        known = {field.name for field in fields(self.constraints_type)}
        for name in asked:
            if name not in known:
                raise InvalidConstraintError(name, asked[name], f"none, since {self.noun} has none")
        return replace(self.default_constraints(), **asked)

    def variations(self) -> Variations:
        """The domain's augmentation."""
        identity = np.arange(self.tokenizer.vocabulary_size)[None]
        return Variations(maps=identity, valid=np.ones_like(identity, dtype=bool))

    # What a piece is like

    def measure(self, piece: Piece, start: float, end: float) -> dict[str, Measure]:
        """What the segment [start, end) of a piece is like; `start < end` in its unit, and it may pass the piece's end.

        A measure that has no meaning (in this domain, or in a segment without notes) is left out. Two names mean the
        same in every domain that has them: `longest_silence` (seconds) and `longest_loop` (bars).
        """
        return {}

    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        """The segment [start, end), in the domain's unit, of the piece that the ids (T, K) are."""
        starts = np.array([step[0].start for step in self.tokenizer.describe(ids)], dtype=np.float64)
        inside = (starts >= start) & (starts < end) & (ids[:, 0] != self.tokenizer.begin)
        return CopyUnits.of_codes(ids[inside, 0], self.tokenizer.vocabulary_size, starts[inside])

    def note_starts(self) -> NDArray[np.bool_]:
        """(V,): the ids of which every note has exactly one; all False in a domain without notes."""
        return np.zeros(self.tokenizer.vocabulary_size, dtype=bool)

    def labels_after(
        self, ids: Ids, stream: int, others: Sequence[int], prompt: Prompt[Piece] | None = None
    ) -> list[str]:
        """What each of some ids of a stream would be called after `ids` (T, K), which begin with those of a prompt."""
        streams = self.tokenizer.streams
        return [self.tokenizer.describe(np.full((1, streams), other))[0][stream].label for other in others]
