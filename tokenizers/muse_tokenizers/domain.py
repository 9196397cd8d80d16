"""The interface of domains: everything about a modality beyond its ids.

A domain holds a tokenizer. A new domain must define how its pieces are converted to bytes and how long they are;
everything else has a default: pieces are continued as a whole, all ids are allowed, there is no sound, and nothing is
measured.
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
from muse_tokenizers.domain_info import DomainInfo
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
"""Name in messages of a piece that is not in a file."""


View = Literal["notes", "sound", "text"]
"""How pieces are displayed: notes on a piano roll, a spectrogram, or words."""


class Domain(ABC, Generic[Piece]):
    """A modality: its files, prompts, grammar, measures and sound."""

    info: ClassVar[DomainInfo]
    """Its names and files."""
    view: ClassVar[View] = "notes"
    unit: ClassVar[Unit] = "seconds"
    """Unit of positions in a piece (durations, split points, segments, spans)."""
    copy_threshold: ClassVar[CopyThreshold] = ("count", 50)
    constraints_type: ClassVar[type[Constraints]] = Constraints
    default_temperature: ClassVar[float] = 1.0
    """Default sampling options of a new checkpoint."""

    steps_per_second: float | None = None
    """Steps per second if they have a fixed length, else None."""
    sound_rate: int | None = None
    """Sample rate of `render_between` in Hz; None for a domain without sound."""
    tokenizer: Tokenizer[Piece]

    def __init__(self, tokenizer: Tokenizer[Piece]) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def of(cls, tokenizer: Tokenizer[Piece]) -> Domain[Piece]:
        """Return the domain of a tokenizer; a class with subclasses chooses among them."""
        return cls(tokenizer)

    @property
    def encoding(self) -> str | None:
        """Encoding of its files, where these are text; None: detected."""
        return None

    @property
    def kind(self) -> str:
        """Name of the domain, such as "midi"."""
        return self.tokenizer.kind

    @property
    def streams_text(self) -> bool:
        """Whether a continuation is text, which can be printed while it is being generated."""
        return self.view == "text"

    @property
    def streams_sound(self) -> bool:
        """Whether a continuation is sound, which `joining` decodes while it is being generated."""
        return self.view == "sound"

    def styled(self, ids: Ids, style: str) -> Ids:
        """Return the ids of a whole piece with its style set, where the tokenizer knows styles."""
        return ids

    # Files

    def read(self, path: str | Path, *, limit: float | None = None, warn: Warn = warn_about_file) -> Piece:
        """Read the piece in a file.

        Args:
            path: Path of the file.
            limit: How much of its beginning to read, in the unit of the domain, for domains with large files; None for
                all.
            warn: Called with one line for everything that was repaired or left out.

        Raises:
            UnreadablePieceError: The file is not a piece of this domain, or is empty or too long.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise UnreadablePieceError(f"cannot read {path}: {error.strerror}") from error
        return self.loads(data, str(path), warn=warn)

    def write(self, piece: Piece, path: str | Path) -> None:
        """Write a piece; equal pieces give equal bytes. Raises UnwritablePieceError."""
        try:
            Path(path).write_bytes(self.dumps(piece))
        except OSError as error:
            raise UnwritablePieceError(f"cannot write {path}: {error.strerror}") from error

    @abstractmethod
    def dumps(self, piece: Piece) -> bytes:
        """Return the bytes that `write` writes."""

    @abstractmethod
    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> Piece:
        """Read a piece from bytes that `dumps` made.

        Args:
            data: The bytes.
            name: Name of the piece in messages.
            warn: As for `read`.

        Raises:
            UnreadablePieceError: As for `read`.
        """

    def read_part(self, path: str | Path, part: Span | None, *, warn: Warn = warn_about_file) -> Piece:
        """Read a file, or a part of it, for preparation. Raises UnreadablePieceError."""
        return self.read(path, warn=warn)

    def piece_of(self, value: Any) -> Piece | None:
        """Convert an object of the user to a piece; None if it is not one.

        Raises:
            UnreadablePieceError: The object has the right type, but is invalid.
        """
        return None

    def reread(self, piece: Piece, name: str, *, warn: Warn = warn_about_file) -> Piece:
        """Write a piece of `piece_of` and read it again, so that it follows the same rules as a file.

        Raises:
            UnreadablePieceError: As for `read`.
        """
        return self.loads(self.dumps(piece), name, warn=warn)

    @abstractmethod
    def duration(self, piece: Piece) -> float:
        """Return the length of a piece in the unit of the domain."""

    def parts(self, piece: Piece) -> list[tuple[str, Piece]]:
        """Return the parts of a piece that are of use on their own, such as the tracks of a score, by name."""
        return []

    # Sound

    def render(
        self, piece: Piece, soundfont: str | Path | None = None, loudness: float | None = LOUDNESS
    ) -> Waveform | None:
        """Render a piece as sound; None for a domain whose pieces are not rendered.

        Args:
            soundfont: Soundfont for MIDI; None for the default one.
            loudness: Integrated loudness in LUFS, reached with a single gain as far as the peaks allow; None leaves the
                level of the soundfont unchanged.
        """
        return None

    def sound(
        self, piece: Piece, soundfont: str | Path | None = None, loudness: float | None = LOUDNESS
    ) -> Waveform | None:
        """Return a piece as sound: rendered, or itself if it is sound; None if the domain has no sound."""
        return self.render(piece, soundfont, loudness)

    def render_between(
        self, piece: Piece, start: float, end: float, soundfont: str | Path | None = None
    ) -> Waveform | None:
        """Render what begins in [start, end) seconds of a piece, from `start` on; None if the domain has no sound.

        The parts of a piece, each added at its start, sum to the whole, so that a piece can be played while it is being
        generated.
        """
        return None

    def describe_sound(
        self, soundfont: str | Path | None = None, loudness: float | None = LOUDNESS
    ) -> dict[str, Any] | None:
        """Describe how `render` works, to reproduce it: name and SHA-256 of the soundfont, and the loudness."""
        return None

    # Continuing

    def prompt(self, piece: Piece | None, length: float | None = None) -> Prompt[Piece]:
        """Make a prompt from the beginning of a piece.

        Args:
            piece: The piece; None for an empty prompt.
            length: Length in the unit of the domain, shortened to a possible split point; None for all of it.
        """
        begin = np.full((1, self.tokenizer.streams), self.tokenizer.begin, dtype=np.int64)
        if piece is None:
            return Prompt(ids=begin, piece=None)
        whole = self.duration(piece)
        end = whole if length is None else self.find_split_point(piece, length)
        # A piece that can be cut is a sequence with one item per unit; other domains override `prompt`.
        given: Any = piece if end >= whole else cast(Any, piece)[: round(end)]
        return Prompt(
            ids=np.concatenate([begin, self.tokenizer.encode(given)]),
            piece=given,
            split_point=float(end),
            split_index=round(end),
        )

    def find_split_point(self, piece: Piece, length: float) -> float:
        """Return the split point of `prompt(piece, length)`, without its work."""
        end = self.duration(piece)
        if length < end:
            raise ConstraintError(f"a prompt of {self.kind} is continued whole: it cannot be cut after {length:g}")
        return end

    def timed(self, prompt: Prompt[Piece], constraints: Constraints | None = None) -> Prompt[Piece]:
        """Return a prompt with its clock, which a requested tempo changes from the split point on."""
        return prompt

    def join(self, prompt: Prompt[Piece], ids: Ids) -> Piece:
        """Append the decoded `ids` (T, K) to a prompt at the split point. The prompt stays exactly as it is in its file
        if the domain can separate the two; sound is decoded from the prompt's ids too, because a change of sound would
        be audible as a seam."""
        return self.tokenizer.decode(np.concatenate([prompt.ids, ids]))

    def joining(self, prompt: Prompt[Piece], steps: Iterable[Ids]) -> Iterator[NDArray[np.float32]] | None:
        """Yield the sound of `join` while the continuation is being generated; None if ids are not sound.

        Args:
            prompt: The prompt.
            steps: Successive chunks of (T, K) ids.
        """
        return None

    def extended(self, prompt: Prompt[Piece], ids: Ids) -> Prompt[Piece]:
        """Return a prompt and its continuation `ids` (T, K) as a new prompt."""
        return self.prompt(self.join(prompt, ids))

    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar | None:
        """Return the grammar after a prompt, for `candidates` candidates; None if all ids are allowed.

        Args:
            prompt: (T, K) ids, `Prompt.ids`.
            candidates: Number of candidates C.
            constraints: Constraints of the candidates.
            partial_frames: `Prompt.partial_frames`.
            clock: `Prompt.clock`.

        Raises:
            ConstraintError: The domain does not support a constraint.
        """
        return None

    def default_constraints(self) -> Constraints:
        """Return the default constraints of a continuation, without a length."""
        return self.constraints_type()

    def constraints(self, asked: Mapping[str, Any]) -> Constraints:
        """Build constraints from requested values by name; the others have their defaults.

        For MIDI, "any" among the instruments and the tempo "free" turn off their defaults, and 0 allows any silence and
        any number of repeats.

        Raises:
            ConstraintError: The domain has no constraint of that name, or does not support the value.
        """
        known = {field.name for field in fields(self.constraints_type)}
        for name in asked:
            if name not in known:
                raise InvalidConstraintError(name, asked[name], f"none, since {self.info.noun} has none")
        return replace(self.default_constraints(), **asked)

    def variations(self) -> Variations:
        """Return the augmentation of the domain."""
        identity = np.arange(self.tokenizer.vocabulary_size)[None]
        return Variations(maps=identity, valid=np.ones_like(identity, dtype=bool))

    # What a piece is like

    def measure(self, piece: Piece, start: float, end: float) -> dict[str, Measure]:
        """Measure the segment [start, end) of a piece, with `start < end` in the unit of the domain; it may extend
        beyond the piece.

        A measure that is undefined (in this domain, or in a segment without notes) is left out. Two names mean the same
        in every domain that has them: `longest_silence` (seconds) and `longest_loop` (bars).
        """
        return {}

    def longest_silence(self, piece: Piece, start: float, end: float) -> tuple[float, float] | None:
        """Return the beginning and the length in seconds of the longest silence in the segment [start, end) of a piece.

        `measure` has the same length. None in a domain without sound.
        """
        return None

    def lengths(self, prompt: Prompt[Piece], ids: Ids, piece: Piece) -> tuple[dict[str, float], dict[str, float]]:
        """Return the lengths of a prompt and of its continuation.

        Args:
            prompt: The prompt.
            ids: (T, K), the continuation.
            piece: Prompt and continuation, joined.

        Returns:
            Two dictionaries from units to lengths, such as {"seconds": 4.4, "bars": 2}.
        """
        new = max(0.0, self.duration(piece) - prompt.split_point)
        return {self.unit: prompt.split_point}, {self.unit: new}

    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        """Return the segment [start, end), in the unit of the domain, of the piece with ids (T, K), for the search of
        copies."""
        starts = np.array([step[0].start for step in self.tokenizer.describe(ids)], dtype=np.float64)
        inside = (starts >= start) & (starts < end) & (ids[:, 0] != self.tokenizer.begin)
        return CopyUnits.of_codes(ids[inside, 0], self.tokenizer.vocabulary_size, starts[inside])

    def note_starts(self) -> NDArray[np.bool_]:
        """Return the ids of which every note has exactly one, (V,) bool; all false in a domain without notes."""
        return np.zeros(self.tokenizer.vocabulary_size, dtype=bool)

    def labels_after(
        self, ids: Ids, stream: int, others: Sequence[int], prompt: Prompt[Piece] | None = None
    ) -> list[str]:
        """Return the labels that each of some ids of a stream would have after `ids` (T, K), which begin with those of
        a prompt."""
        streams = self.tokenizer.streams
        return [self.tokenizer.describe(np.full((1, streams), other))[0][stream].label for other in others]
