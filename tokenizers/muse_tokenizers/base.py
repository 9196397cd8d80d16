"""The interface of every tokenizer: pieces become token ids, and token ids become pieces again.

A piece is `(T, K)` integer ids: T steps, K parallel streams. Files, prompts, grammars and sound are the affair of
`muse_tokenizers.domain`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.errors import ConstraintError

__all__ = [
    "Constraints",
    "Grammar",
    "Ids",
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
"""What places in a piece are counted in."""

Span = tuple[int, int]
"""The first, and the one after the last, of bytes or characters."""

Ids = NDArray[np.int64]
"""(T, K) token ids."""

Piece = TypeVar("Piece")


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """What one id means to a person."""

    id: int
    label: str
    """For eyes: "C#4", "bar 3", "velocity 80"."""
    kind: str
    """The family it belongs to: "pitch", "bar", "velocity"."""
    start: float
    """Where its span in the piece begins: seconds, or bytes for text."""
    end: float
    """Where its span ends; equal to `start` for an instant."""
    note: int | None = None
    """The number of the note it is a part of, counted from 0 in the order of the ids."""
    value: int | None = None
    """The number behind the label where it has one: a pitch from 0 to 127, say."""
    characters: Span | None = None
    """Of text, the characters that any of its bytes is a part of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waveform:
    """Sound as samples."""

    samples: NDArray[np.float32]
    """(C, N) float32 in [-1, 1]."""
    sample_rate: int
    """Hz."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt(Generic[Piece]):
    """The part of a piece that is to be continued."""

    ids: Ids
    """(T, K), the begin id first."""
    piece: Piece | None
    """That part of the piece as it stands in the file; None where nothing was given."""
    split_point: float = 0.0
    """Where the continuation is appended, in seconds from the start of the piece, or in bytes of text."""
    split_index: int = 0
    """The same place in the piece's own unit (ticks, samples, bytes)."""
    partial_frames: Ids | None = None
    """(B, K): of the next steps what the given part has already settled (with the delay pattern the finer codes of its
    last frames), -1 where they are open; None where every step is complete."""
    gain: float = 1.0
    """Of sound: the factor by which what is decoded is as loud as the given part is."""
    clock: object = None
    """MIDI: when the ids' ticks are in the file (`muse_tokenizers.midi.clock`); None: as the ids alone say."""
    divided: bool = True
    """MIDI: whether new notes are divided among the tracks that may play them; False in sidecars from before that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """What a person asks of a continuation. Each domain has a subclass with the fields it can grant; this one has none,
    and every domain takes it for nothing asked."""

    length_field: ClassVar[str | None] = None
    """The field that is a length in the domain's unit."""

    @classmethod
    def of(cls, constraints: Constraints | None) -> Self:
        """Constraints as this domain's. Raises ConstraintError: they are another domain's."""
        if constraints is None or type(constraints) is Constraints:
            return cls()
        if not isinstance(constraints, cls):
            raise ConstraintError(f"constraints are {type(constraints).__name__}; allowed: {cls.__name__}")
        return constraints

    @property
    def length(self) -> float | None:
        """The requested length in the domain's unit; None where none is requested."""
        return None if self.length_field is None else getattr(self, self.length_field)

    def with_length(self, length: float) -> Self:
        """The same for a continuation of a length in the domain's unit; unchanged where a domain knows no lengths."""
        return self if self.length_field is None else replace(self, **{self.length_field: length})

    @property
    def most_steps(self) -> int:
        """At least as many steps as the requested length may take."""
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Variations:
    """Augmentation as maps of ids, so that training need not know what an id means."""

    maps: Ids
    """(A, V): id v becomes maps[a, v]; row 0 is the identity."""
    valid: NDArray[np.bool_]
    """(A, V): False where map a leads out of the domain for id v."""


class Grammar(ABC):
    """Which ids may come next, for C candidates that grow one step at a time.

    Attributes:
        complete: (C,) bool; the piece could end here and nothing would be left dangling.
        finished: (C,) bool; the candidate has ended, or has just crossed the length that was requested.
        elapsed: (C,) float64; seconds, or bytes of text, since the split point.
    """

    complete: NDArray[np.bool_]
    finished: NDArray[np.bool_]
    elapsed: NDArray[np.float64]

    @abstractmethod
    def allowed(self) -> NDArray[np.bool_]:
        """(C, K, V) bool: the ids that may come next. At least one id of every candidate and stream is True."""

    @abstractmethod
    def advance(self, ids: Ids) -> None:
        """Take one step: ids is (C, K)."""


State = TypeVar("State")


def for_candidates(state: State, candidates: int) -> State:
    """A dataclass of arrays over one candidate, (1, ...) each, as one over so many equal candidates."""
    arrays = {field.name: np.repeat(getattr(state, field.name), candidates, axis=0) for field in fields(state)}  # type: ignore[arg-type]
    return replace(state, **arrays)  # type: ignore[type-var]


class Tokenizer(ABC, Generic[Piece]):
    """Pieces of one modality as ids, and what the ids mean.

    What a modality is beyond its ids (files, prompts, grammar, sound, measures) is its `muse_tokenizers.domain.Domain`.
    """

    kind: ClassVar[str]
    """The name of the domain: "midi"."""

    uses_device: ClassVar[bool] = False
    """Whether a GPU computes ids faster; see `use_device`."""

    streams: int
    """K, the ids of one step."""
    vocabulary_size: int
    """V, the same for every stream."""
    pad: int
    begin: int
    end: int

    @abstractmethod
    def encode(self, piece: Piece) -> Ids:
        """piece -> (T, K), without the steps of begin and end. Where the delay pattern leaves holes stand padding,
        before a stream's first id, and the end, after its last one."""

    def encode_many(self, pieces: Sequence[Piece]) -> list[Ids]:
        """`encode` of each; a tokenizer that computes them on a GPU does so side by side."""
        return [self.encode(piece) for piece in pieces]

    def use_device(self, device: str) -> None:
        """Where ids are computed from now on: "cpu" or "cuda"."""

    @abstractmethod
    def decode(self, ids: Ids) -> Piece:
        """(T, K) -> piece. Special ids and an unfinished event at the end are left out."""

    def describe(self, ids: Ids, prompt: Prompt[Piece] | None = None) -> list[list[Token]]:
        """(T, K) -> T lists of K tokens. By default a step is one unit long, but for begin, end and padding.

        Args:
            ids: a piece's.
            prompt: that they begin with, or are a part of: places are then those of its file.
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

    def configuration(self) -> dict[str, Any]:
        """Everything `from_configuration` needs, as plain JSON; by default nothing."""
        return {}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> Tokenizer[Piece]:
        """The tokenizer of a configuration, and of the folder where `save` left what is more than JSON.

        Raises:
            TokenizerError: the configuration is not one of this kind, or what it needs is not there.
        """
        return cls()

    @abstractmethod
    def vocabulary(self) -> list[str]:
        """V names, by id."""

    def fingerprint(self) -> str:
        """SHA-256 over kind, streams and vocabulary: equal where ids mean the same."""
        text = json.dumps([self.kind, self.streams, self.vocabulary()], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `folder/tokenizer.json`, from which `muse_tokenizers.loading.load_tokenizer` makes an equal one."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"kind": self.kind, "fingerprint": self.fingerprint(), "configuration": self.configuration()}
        (folder / "tokenizer.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
