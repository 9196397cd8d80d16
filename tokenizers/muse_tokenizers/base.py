"""The one interface through which a domain's files become token ids, and token ids become files again.

A piece is `(T, K)` integer ids: T steps, K parallel streams. Whoever works on ids (data, model, training,
generation) speaks this interface and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.errors import ImpossibleOption, Warn, warn_about_file
from muse_tokenizers.levels import LOUDNESS
from muse_tokenizers.measures import CopyThreshold, CopyUnits, Measure

__all__ = [
    "EMBEDDED",
    "RULES",
    "Constraints",
    "Grammar",
    "Ids",
    "Prompt",
    "Span",
    "Token",
    "Tokenizer",
    "Unit",
    "Variations",
    "Waveform",
]  # fmt: skip

EMBEDDED = "the embedded prompt"
"""What messages call a piece that is in no file."""

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


RULES = 2
"""The edition of the rules by which constraints are understood. What instruments or repeats mean changes with it
alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """What a person asks of a continuation; each becomes a mask over ids or the end of the piece."""

    instruments: tuple[str, ...] = ()
    """Names or numbers of the only instruments that may play; empty: any."""
    key: str | None = None
    """A key ("F# minor") or pitch classes ("0,2,4"); drums are free of it."""
    tempo: float | None = None
    """Beats a minute, from the split point on."""
    keep_instruments: bool = False
    """Where no instruments are named: those of the prompt alone."""
    keep_tempo: bool = False
    """Where no tempo is named: from the prompt's prevailing one on, inside the prompt's range."""
    bars: int | None = None
    """Length of the continuation in bars."""
    seconds: float | None = None
    """Length of the continuation in seconds."""
    bytes: int | None = None
    """Length of the continuation in bytes."""
    silence: float | None = None
    """The longest silence, seconds; None: any."""
    repeats: int | None = None
    """The most bars in a row that may each be near-equal to one of the 16 before; None: any."""
    rules: int = RULES
    """By which edition the others are understood: 1 by sidecars made before there was a second, which repeat."""

    def only(self, names: Collection[str], lacks: str) -> Constraints:
        """The same. Raises ImpossibleOption: something else than these is requested, which `lacks` it."""
        for field in fields(self):
            if field.name not in (*names, "rules") and getattr(self, field.name) not in (None, (), False):
                raise ImpossibleOption(field.name, getattr(self, field.name), f"none, since {lacks} has none")
        return self

    def with_length(self, length: float, unit: Unit) -> Constraints:
        """The same for a continuation of a length in a domain's unit."""
        return replace(self, seconds=length) if unit == "seconds" else replace(self, bytes=round(length))


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


class Tokenizer(ABC, Generic[Piece]):
    """A domain: its files, its ids, and what they mean."""

    kind: ClassVar[str]
    """The name of the domain: "midi"."""
    suffixes: ClassVar[frozenset[str]]
    """The file endings `read` is meant for, in lower case with the dot."""
    suffix: ClassVar[str]
    """The ending of what `write` writes."""
    unit: ClassVar[Unit] = "seconds"
    """What places in a piece (durations, cuts, segments, spans) are counted in."""
    counted: ClassVar[str]
    """What passages count: "notes"."""
    copy_threshold: ClassVar[CopyThreshold]
    default_temperature: ClassVar[float] = 1.0
    """What a new checkpoint is sampled with where nobody says otherwise."""

    streams: int
    """K, the ids of one step."""
    vocabulary_size: int
    """V, the same for every stream."""
    steps_per_second: float | None
    """Steps a second where they have a fixed length, else None."""
    sound_rate: int | None = None
    """Hz of what `render_between` gives; None for a domain without sound."""
    pad: int
    begin: int
    end: int

    # Files

    @abstractmethod
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

    @abstractmethod
    def write(self, piece: Piece, path: Path) -> None:
        """Write a piece; the same piece gives the same bytes. Raises UnwritablePieceError."""

    @abstractmethod
    def dumps(self, piece: Piece) -> bytes:
        """The bytes that `write` writes."""

    @abstractmethod
    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> Piece:
        """The piece that `dumps` made these bytes of; `name` is what a message calls it. Raises
        UnreadablePieceError."""

    def read_part(self, path: Path, part: Span | None, *, warn: Warn = warn_about_file) -> Piece:
        """`read` of a file or a part of it that is prepared. Raises UnreadablePieceError."""
        return self.read(path, warn=warn)

    @abstractmethod
    def duration(self, piece: Piece) -> float:
        """How long a piece is, in the domain's unit."""

    @abstractmethod
    def render(self, piece: Piece, soundfont: Path | None = None, loudness: float | None = LOUDNESS) -> Waveform | None:
        """The piece as sound; None for a domain that has none beside its files.

        Args:
            soundfont: for MIDI; None: the default one.
            loudness: LUFS that one gain brings it to, or as near as its peaks allow; None: as the soundfont has it.
        """

    def render_between(self, piece: Piece, start: float, end: float, soundfont: Path | None = None) -> Waveform | None:
        """The sound of what begins in [start, end) seconds of a piece, from `start` on; None where a domain has none.

        Parts that are added up where they begin are the whole, so that a piece is heard while it is being made.
        """
        return None

    @abstractmethod
    def describe_sound(self, soundfont: Path | None = None, loudness: float | None = LOUDNESS) -> dict[str, Any] | None:
        """What `render` sounds with, by name and SHA-256, and how loud, for whoever wants to make the same again."""

    # Ids

    @abstractmethod
    def encode(self, piece: Piece) -> Ids:
        """piece -> (T, K), without the steps of begin and end. Where the delay pattern leaves holes stand padding,
        before a stream's first id, and the end, after its last one."""

    def encode_many(self, pieces: Sequence[Piece]) -> list[Ids]:
        """`encode` of each; a domain that computes them on a GPU does so side by side."""
        return [self.encode(piece) for piece in pieces]

    def use_device(self, device: str) -> None:
        """Where ids are computed from now on: "cpu" or "cuda"."""

    @abstractmethod
    def decode(self, ids: Ids) -> Piece:
        """(T, K) -> piece. Special ids and an unfinished event at the end are left out."""

    @abstractmethod
    def describe(self, ids: Ids, prompt: Prompt[Piece] | None = None) -> list[list[Token]]:
        """(T, K) -> T lists of K tokens.

        Args:
            ids: a piece's.
            prompt: that they begin with, or are a part of: places are then those of its file.
        """

    def timed(self, prompt: Prompt[Piece], constraints: Constraints | None = None) -> Prompt[Piece]:
        """A prompt with its clock, which a requested tempo changes from the split point on."""
        return prompt

    def labels_after(
        self, ids: Ids, stream: int, others: Sequence[int], prompt: Prompt[Piece] | None = None
    ) -> list[str]:
        """What each of some ids of a stream would be called after `ids` (T, K), which begin with those of a prompt."""
        return [self.describe(np.full((1, self.streams), other))[0][stream].label for other in others]

    # Continuing

    @abstractmethod
    def prompt(self, piece: Piece | None, length: float | None = None) -> Prompt[Piece]:
        """The first of a piece, so long in the domain's unit, cut where it is whole; all of it for None, nothing but
        begin for no piece."""

    @abstractmethod
    def find_split_point(self, piece: Piece, length: float) -> float:
        """Where `prompt(piece, length)` would cut, without its work."""

    @abstractmethod
    def join(self, prompt: Prompt[Piece], ids: Ids) -> Piece:
        """The prompt and `ids` (T, K), decoded, from the split point on. The prompt exactly as it stands in its file,
        but for sound, which is decoded from its ids too: else the change of sound would be heard as a seam."""

    def extended(self, prompt: Prompt[Piece], ids: Ids) -> Prompt[Piece]:
        """A prompt and its continuation `ids` (T, K) as the prompt of a further one."""
        return self.prompt(self.join(prompt, ids))

    @abstractmethod
    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar | None:
        """The ids allowed after a prompt, for that many candidates.

        Args:
            prompt: (T, K), `Prompt.ids`.
            candidates: C.
            constraints: what they keep to.
            partial_frames: `Prompt.partial_frames`, which holds.
            clock: `Prompt.clock`.

        Raises:
            ConstraintError: the domain cannot grant a constraint.
        """

    @abstractmethod
    def default_constraints(self) -> Constraints:
        """What a continuation should keep to where nobody says otherwise; no length."""

    @abstractmethod
    def variations(self) -> Variations:
        """The domain's augmentation."""

    @abstractmethod
    def measure(self, piece: Piece, start: float, end: float) -> dict[str, Measure]:
        """What the segment [start, end) of a piece is like; `start < end` in its unit, and it may pass the piece's end.

        A measure that has no meaning (in this domain, or in a segment without notes) is left out. Two names mean the
        same in every domain that has them: `longest_silence` (seconds) and `longest_loop` (bars).
        """

    @abstractmethod
    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        """The segment [start, end), in the domain's unit, of the piece that the ids (T, K) are."""

    @abstractmethod
    def note_starts(self) -> NDArray[np.bool_]:
        """(V,): the ids of which every note has exactly one; all False in a domain without notes."""

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """Everything `from_configuration` needs, as plain JSON."""

    @classmethod
    @abstractmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> Tokenizer[Piece]:
        """The tokenizer of a configuration, and of the folder where `save` left what is more than JSON.

        Raises:
            TokenizerError: the configuration is not one of this kind, or what it needs is not there.
        """

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
