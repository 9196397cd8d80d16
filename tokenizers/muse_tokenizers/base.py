"""The interface of tokenizers, which convert pieces to token ids and back.

A piece is encoded as `(T, K)` integer ids: T steps, K parallel streams. Files, prompts, grammars and sound belong to
`muse_tokenizers.domain`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.errors import ConstraintError, InvalidOptionError, TokenizerError, UnknownTokenizerError

__all__ = [
    "Constraints",
    "Grammar",
    "Ids",
    "NewTokenizer",
    "Piece",
    "Prompt",
    "Span",
    "Token",
    "Tokenizer",
    "Unit",
    "Variations",
    "Waveform",
    "for_candidates",
]

Unit = Literal["seconds", "bytes"]
"""Unit of positions in a piece."""

Span = tuple[int, int]
"""A range of bytes or characters: the first one, and the one after the last."""

Ids = NDArray[np.int64]
"""(T, K) token ids."""

Piece = TypeVar("Piece")


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """The meaning of one id."""

    id: int
    label: str
    """Label for display: "C#4", "bar 3", "velocity 80"."""
    kind: str
    """Kind of token: "pitch", "bar", "velocity"."""
    start: float
    """Start of its span in the piece, in seconds, or in bytes for text."""
    end: float
    """End of its span; equal to `start` for an instant."""
    note: int | None = None
    """Index of the note that it belongs to, counted from 0 in the order of the ids."""
    value: int | None = None
    """The value of the label if it is a number, such as a pitch from 0 to 127."""
    characters: Span | None = None
    """Text: range of the characters that contain any of its bytes; None where a byte is a character."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waveform:
    """Sound as samples."""

    samples: NDArray[np.float32]
    """(C, N) float32 samples in [-1, 1]."""
    sample_rate: int
    """Sample rate in Hz."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt(Generic[Piece]):
    """The part of a piece that is to be continued."""

    ids: Ids
    """(T, K) ids, with the begin id first."""
    piece: Piece | None
    """That part of the piece as it is in its file; None without a prompt."""
    split_point: float = 0.0
    """Position at which the continuation is appended, in seconds from the start of the piece, or in bytes of text."""
    split_index: int = 0
    """The same position in the unit of the piece (ticks, samples, bytes)."""
    partial_frames: Ids | None = None
    """(B, K) ids of the next steps that the prompt determines (in the delay pattern, the finer codes of its last
    frames), -1 for undetermined ones; None if every step is complete."""
    gain: float = 1.0
    """Sound: gain that makes the decoded sound as loud as the prompt."""
    clock: object = None
    """MIDI: times of the ids' ticks in the file (`muse_tokenizers.midi.clock`); None for the times that follow from the
    ids alone."""
    divided: bool = True
    """MIDI: whether new notes are divided among the tracks of an instrument; false in sidecars from before this
    existed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """Constraints of a continuation. Each domain has a subclass with the fields that it supports; this class has none,
    and every domain accepts it as "no constraints"."""

    length_field: ClassVar[str | None] = None
    """Name of the field with the length in the unit of the domain."""

    @classmethod
    def of(cls, constraints: Constraints | None) -> Self:
        """Convert constraints to this class. Raises ConstraintError if they belong to another domain."""
        if constraints is None or type(constraints) is Constraints:
            return cls()
        if not isinstance(constraints, cls):
            raise ConstraintError(f"constraints are {type(constraints).__name__}; allowed: {cls.__name__}")
        return constraints

    @property
    def length(self) -> float | None:
        """Requested length in the unit of the domain; None if there is none."""
        return None if self.length_field is None else getattr(self, self.length_field)

    def with_length(self, length: float) -> Self:
        """Return the same constraints with a length in the unit of the domain; unchanged if the domain has no
        lengths."""
        return self if self.length_field is None else replace(self, **{self.length_field: length})

    @property
    def most_steps(self) -> int:
        """Return an upper bound of the steps that the requested length can take."""
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Variations:
    """Augmentation as maps of ids, so that training need not know what an id means."""

    maps: Ids
    """(A, V), id v becomes maps[a, v]; row 0 is the identity."""
    valid: NDArray[np.bool_]
    """(A, V) bool, false if map a would take id v out of the vocabulary."""


class Grammar(ABC):
    """Which ids are allowed next, for C candidates that are generated step by step.

    Attributes:
        complete: (C,) bool, whether the piece is complete and could end here.
        finished: (C,) bool, whether the candidate has ended, or has just exceeded the requested length.
        elapsed: (C,) float64, seconds since the split point, or bytes for text.
    """

    complete: NDArray[np.bool_]
    finished: NDArray[np.bool_]
    elapsed: NDArray[np.float64]

    @abstractmethod
    def allowed(self) -> NDArray[np.bool_]:
        """Return the ids that are allowed next, (C, K, V) bool. At least one id is allowed for every candidate and
        stream."""

    def bias(self, logits: NDArray[np.float32], allowed: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Return what is added to logits (C, K, V) of the next ids before they are sampled, (C, K, V) or (C, 1, V);
        None for nothing. `allowed` is what `allowed()` returned for them."""
        return None

    @abstractmethod
    def advance(self, ids: Ids) -> None:
        """Advance by one step with ids (C, K)."""


State = TypeVar("State")


def for_candidates(state: State, candidates: int) -> State:
    """Repeat a dataclass of arrays over one candidate, (1, ...) each, for `candidates` equal candidates."""
    arrays = {field.name: np.repeat(getattr(state, field.name), candidates, axis=0) for field in fields(state)}  # type: ignore[arg-type]
    return replace(state, **arrays)  # type: ignore[type-var]


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTokenizer:
    """What `Tokenizer.create` makes the tokenizer of a new store of."""

    name: str | None
    """Name that the user chose; None for the default."""
    of_recipe: str | None
    """Name that the recipe of the data recommends."""
    options: Mapping[str, Any]
    """Options that were given, by name."""
    progress: Callable[[str], AbstractContextManager[Any]]
    """Returns a progress bar with a label; `show(number, what)` updates it."""
    texts: Callable[[Any], Iterator[bytes]]
    """Returns the training texts, whose reading a progress bar shows."""


class Tokenizer(ABC, Generic[Piece]):
    """Converts pieces of one modality to ids, and describes the ids.

    Everything else about a modality (files, prompts, grammar, sound, measures) is in its
    `muse_tokenizers.domain.Domain`.
    """

    kind: ClassVar[str]
    """Name of the domain, such as "midi"."""

    uses_device: ClassVar[bool] = False
    """Whether a GPU makes encoding faster; see `use_device`."""

    streams: int
    """K, the number of ids per step."""
    vocabulary_size: int
    """V, the size of the vocabulary, the same for every stream."""
    pad: int
    begin: int
    end: int

    @abstractmethod
    def encode(self, piece: Piece) -> Ids:
        """Encode a piece as (T, K) int64 ids, without begin and end steps. The holes of the delay pattern contain the
        padding id before the first id of a stream, and the end id after its last one."""

    def encode_many(self, pieces: Sequence[Piece]) -> list[Ids]:
        """Encode several pieces; a tokenizer that uses a GPU encodes them in batches."""
        return [self.encode(piece) for piece in pieces]

    def use_device(self, device: str) -> None:
        """Set the device that computes ids: "cpu" or "cuda"."""

    def use_encoding(self, encoding: str | None) -> None:
        """Set the encoding of text files without a byte order mark, None to detect it, if pieces are text."""

    @abstractmethod
    def decode(self, ids: Ids) -> Piece:
        """Decode (T, K) ids to a piece. Special ids and an incomplete event at the end are left out."""

    def describe(self, ids: Ids, prompt: Prompt[Piece] | None = None) -> list[list[Token]]:
        """Describe (T, K) ids as T lists of K tokens. By default each step is one unit long, except for begin, end and
        padding.

        Args:
            ids: (T, K) ids of a piece.
            prompt: The prompt that they begin with, or are a part of; positions are then those of its file.
        """
        special, names = (self.pad, self.begin, self.end), self.vocabulary()
        plain = ~np.isin(ids, special)
        ends = np.cumsum(plain.any(axis=1)).astype(np.float64)
        starts = np.concatenate([[0.0], ends])[:-1]
        return [
            [
                Token(id=i, label=names[i], kind="special" if i in special else "token", start=start, end=end)
                for i in row
            ]
            for row, start, end in zip(ids.tolist(), starts.tolist(), ends.tolist(), strict=True)
        ]

    # The tokenizer as data

    @classmethod
    def create(cls, new: NewTokenizer) -> Tokenizer[Piece]:
        """Create the tokenizer of a new store; by default that of an empty configuration.

        Raises:
            InvalidOptionError, TokenizerError: There is none of that name, or an option does not go with it.
        """
        if new.name is not None:
            raise InvalidOptionError("tokenizer", new.name, "a checkpoint")
        try:
            return cls.from_configuration({})
        except (TypeError, LookupError) as error:
            raise UnknownTokenizerError(
                f"the domain {cls.kind} has no default tokenizer; name a checkpoint as tokenizer"
            ) from error

    def configuration(self) -> dict[str, Any]:
        """Return everything that `from_configuration` needs as plain JSON; by default nothing."""
        return {}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> Tokenizer[Piece]:
        """Build a tokenizer from a configuration, and from the folder in which `save` put what is not JSON.

        Raises:
            TokenizerError: The configuration is invalid for this class, or a file that it needs is missing.
        """
        return cls()

    @abstractmethod
    def vocabulary(self) -> list[str]:
        """Return the V names of the ids."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of kind, streams and vocabulary, which is equal if ids mean the same."""
        text = json.dumps([self.kind, self.streams, self.vocabulary()], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def extra_files(self) -> Mapping[str, bytes]:
        """Return what `save` writes next to `tokenizer.json`, by path relative to the folder; by default nothing."""
        return {}

    def save(self, folder: str | Path) -> None:
        """Write `folder/tokenizer.json` and `extra_files`, from which `muse_tokenizers.loading.load_tokenizer` restores
        the tokenizer.

        Raises:
            TokenizerError: A file could not be written (no space, no permission).
        """
        folder = Path(folder)
        content = {"kind": self.kind, "fingerprint": self.fingerprint(), "configuration": self.configuration()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "tokenizer.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            for name, data in self.extra_files().items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(data)
        except OSError as error:
            raise TokenizerError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error
