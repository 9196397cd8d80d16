"""The text domain behind the one interface of `muse_tokenizers.base`. A piece is bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from muse_tokenizers.base import (
    EMBEDDED,
    Constraints,
    Grammar,
    Ids,
    Prompt,
    Span,
    Token,
    Tokenizer,
    Unit,
    Variations,
    Waveform,
)
from muse_tokenizers.errors import (
    UnknownTokenizerError,
    UnreadablePieceError,
    UnwritablePieceError,
    Warn,
    warn_about_file,
)
from muse_tokenizers.measures import CopyThreshold, CopyUnits, Measure
from muse_tokenizers.suffixes import TEXT
from muse_tokenizers.text.encodings import check_encoding
from muse_tokenizers.text.files import LINE_ENDS, LOOKED_AT, LineEnds, check_text, read_text
from muse_tokenizers.text.grammar import TextGrammar
from muse_tokenizers.text.labels import label_in
from muse_tokenizers.text.measures import measure_text
from muse_tokenizers.text.subwords import BpeModel, CharacterModel, SubwordModel
from muse_tokenizers.text.utf8 import ILL, characters_before, state_after, transitions

__all__ = ["TextTokenizer", "read_bpe"]

_BPE = "bpe.json"
_SPACES = b" \t\r\n"
_CONTROLS = frozenset({*range(32), 127} - {*b"\t\n\f\r"})
"""Bytes that are never written, though they may be read."""
_WORD_END = re.compile(rb"[^ \t\r\n](?=[ \n])")
_LONGEST_PROMPT = 2**24
"""Bytes of a file that is continued: all its ids stand in the sidecar, and a core sees a few thousand of them."""
_LONGEST_CHARACTER = 4
"""Bytes, so tokens too."""
_LONGEST_WORD = 64
"""Bytes; what goes on for longer has no spaces between its words."""


class TextTokenizer(Tokenizer[bytes]):
    """Bytes of text to ids and back."""

    kind: ClassVar[str] = "text"
    suffixes: ClassVar[frozenset[str]] = TEXT
    suffix: ClassVar[str] = ".txt"
    unit: ClassVar[Unit] = "bytes"
    counted: ClassVar[str] = "characters"
    copy_threshold: ClassVar[CopyThreshold] = ("count", 50)
    streams = 1
    steps_per_second = None

    default_temperature: ClassVar[float] = 0.8

    def __init__(self, subword_model: SubwordModel, line_ends: LineEnds = "lf", encoding: str | None = None) -> None:
        """
        Args:
            subword_model: makes the ids.
            line_ends: of files that are prepared: `lf` leaves out carriage returns before line feeds; `keep` nothing.
                Prompts keep theirs.
            encoding: of files that are prepared, where no mark in them says it; None: UTF-8, or what they look like.
        """
        self.encoding = encoding
        self.subword_model, self._line_ends = subword_model, line_ends
        plain = len(subword_model.tokens)
        self.pad, self.begin, self.end = plain, plain + 1, plain + 2
        self.vocabulary_size = plain + 3
        self._tokens = (*subword_model.tokens, b"", b"", b"")
        self._lengths = np.array([len(token) for token in self._tokens])
        self._leads_to = transitions(self._tokens)
        # A file with a zero byte would be refused as a prompt; the other control characters command terminals.
        self._leads_to[:, [any(byte in _CONTROLS for byte in token) for token in self._tokens]] = ILL

    # Files

    def read(
        self,
        path: Path,
        *,
        limit: float | None = None,
        warn: Warn = warn_about_file,
        encoding: str | None = None,
    ) -> bytes:
        """As of every tokenizer; `encoding` is what the file is in where no mark says it. What is continued is its end,
        so that all of it is read."""
        with suppress(OSError):
            size = path.stat().st_size
            if size > _LONGEST_PROMPT:
                raise UnreadablePieceError(
                    f"{path} has {size:,} bytes; allowed: up to {_LONGEST_PROMPT:,}. What is continued is its end"
                )
        return self._checked(read_text(path, encoding=encoding, warn=warn), str(path))

    def _checked(self, data: bytes, name: str) -> bytes:
        check_text(data, name)
        try:
            self.subword_model.encode(data[:LOOKED_AT])
        except UnreadablePieceError as error:
            raise UnreadablePieceError(f"{name} is not of this alphabet: {error}") from error
        return data

    def read_part(self, path: Path, part: Span | None, *, warn: Warn = warn_about_file) -> bytes:
        data = read_text(path, part, self._line_ends, encoding=self.encoding, warn=warn)
        return self._checked(data, str(path))

    def write(self, piece: bytes, path: Path) -> None:
        try:
            path.write_bytes(piece)
        except OSError as error:
            raise UnwritablePieceError(f"cannot write {path}: {error.strerror}") from error

    def dumps(self, piece: bytes) -> bytes:
        return piece

    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> bytes:
        return self._checked(data, name)

    def duration(self, piece: bytes) -> float:
        return float(len(piece))

    def render(self, piece: bytes, soundfont: Path | None = None, loudness: float | None = None) -> Waveform | None:
        return None

    def describe_sound(self, soundfont: Path | None = None, loudness: float | None = None) -> dict[str, Any] | None:
        return None

    # Ids

    def encode(self, piece: bytes) -> Ids:
        return self.subword_model.encode(piece)[:, None]

    def decode(self, ids: Ids) -> bytes:
        return b"".join(self._tokens[number] for number in ids[:, 0].tolist())

    def describe(self, ids: Ids, prompt: Prompt[bytes] | None = None) -> list[list[Token]]:
        flat = ids[:, 0]
        ends = np.cumsum(self._lengths[flat])
        whole = self.decode(ids)
        partial_frames = characters_before(whole)
        special = {self.pad: "padding", self.begin: "begin", self.end: "end"}
        described = []
        for number, end in zip(flat.tolist(), ends.tolist(), strict=True):
            data = self._tokens[number]
            start = end - len(data)
            # A character belongs to every token that has a byte of it.
            first = max(0, int(partial_frames[start + 1]) - 1) if data else int(partial_frames[start])
            label, kind = label_in(whole, start, end) if data else (special.get(number, "no text"), "special")
            characters = (first, int(partial_frames[end]))
            described.append([Token(id=number, label=label, kind=kind, start=start, end=end, characters=characters)])
        return described

    def labels_after(
        self, ids: Ids, stream: int, others: Sequence[int], prompt: Prompt[bytes] | None = None
    ) -> list[str]:
        # What came before may have begun a character.
        return [self.describe(np.append(ids[-_LONGEST_CHARACTER:], [[other]], axis=0))[-1][0].label for other in others]

    # Continuing

    def prompt(self, piece: bytes | None, length: float | None = None) -> Prompt[bytes]:
        begin = np.array([[self.begin]], dtype=np.int64)
        if piece is None:
            return Prompt(ids=begin, piece=None)
        split_point = len(piece) if length is None else int(self.find_split_point(piece, length))
        given = piece[:split_point]
        return Prompt(
            ids=np.concatenate([begin, self.encode(given)]),
            piece=given,
            split_point=float(split_point),
            split_index=split_point,
        )

    def find_split_point(self, piece: bytes, length: float) -> float:
        most = max(1, min(len(piece), round(length)))
        if most == len(piece):
            return float(most)
        # Before the space or line end that follows a word: what comes next begins as words do, and what came before
        # has the ids that it has in the whole. Nothing is shorter than the first word.
        place = most + 1
        while (place := max(piece.rfind(b" ", 1, place), piece.rfind(b"\n", 1, place))) > 0:
            if piece[place - 1] not in _SPACES:
                return float(place)
        word = _WORD_END.search(piece, most, most + _LONGEST_WORD)
        if word is not None:
            return float(word.end())
        while most > 1 and (piece[most] & 0xC0) == 0x80:
            most -= 1
        return float(most)

    def join(self, prompt: Prompt[bytes], ids: Ids) -> bytes:
        return (
            self.decode(np.concatenate([prompt.ids, ids])) if prompt.piece is None else prompt.piece + self.decode(ids)
        )

    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar:
        constraints = (constraints or Constraints()).only(("bytes",), "text")
        return TextGrammar(
            state=state_after(self.decode(prompt[-8:])),
            candidates=candidates,
            leads_to=self._leads_to,
            lengths=self._lengths,
            pad=self.pad,
            end=self.end,
            requested=constraints.bytes,
        )

    def default_constraints(self) -> Constraints:
        return Constraints()

    def variations(self) -> Variations:
        identity = np.arange(self.vocabulary_size)[None]
        return Variations(maps=identity, valid=np.ones_like(identity, dtype=bool))

    # What a piece is like

    def measure(self, piece: bytes, start: float, end: float) -> dict[str, Measure]:
        return measure_text(piece[round(start) : round(end)])

    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        data = self.decode(ids)[round(start) : round(end)]
        text = data.decode("utf-8", "replace")
        codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64)
        sizes = np.array([len(character.encode()) for character in text], dtype=np.int64)
        return CopyUnits.of_codes(codes, 0x110000, (round(start) + np.cumsum(sizes) - sizes).astype(np.float64))

    def note_starts(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.zeros(self.vocabulary_size, dtype=bool)

    # The tokenizer as data

    def configuration(self) -> dict[str, Any]:
        own: dict[str, Any] = {"sha256": self.subword_model.digest()}
        if isinstance(self.subword_model, CharacterModel):
            own = {"characters": self.subword_model.characters, "closed": self.subword_model.closed}
        files = {} if self.encoding is None else {"encoding": self.encoding}
        return {"scheme": self.subword_model.scheme, "line_ends": self._line_ends, **files, **own}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> TextTokenizer:
        try:
            scheme, line_ends, encoding = (
                _scheme_of(configuration), configuration["line_ends"], configuration.get("encoding")
            )  # fmt: skip
            if encoding is not None:
                encoding = check_encoding(encoding)
            if line_ends not in LINE_ENDS:
                raise UnknownTokenizerError(f"line_ends is {line_ends!r}; allowed: {', '.join(LINE_ENDS)}")
            if scheme == CharacterModel.scheme:
                characters, closed = configuration["characters"], configuration["closed"]
                if not isinstance(characters, str) or not isinstance(closed, bool):
                    raise TypeError
                return cls(CharacterModel(characters, closed=closed), line_ends, encoding)
            digest = configuration["sha256"]
        except (KeyError, TypeError, AttributeError, UnreadablePieceError) as error:
            raise UnknownTokenizerError(
                "a text tokenizer's fields are scheme, line_ends, and what its scheme needs"
            ) from error
        if scheme != BpeModel.scheme or folder is None:
            raise UnknownTokenizerError(f"scheme is {scheme!r}; allowed: characters, or bpe with its file")
        subword_model = read_bpe(folder / _BPE)
        if subword_model.digest() != digest:
            raise UnknownTokenizerError(
                f"{folder / _BPE} is another one: its SHA-256 begins {subword_model.digest()[:12]}"
            )
        return cls(subword_model, line_ends, encoding)

    def save(self, folder: Path) -> None:
        super().save(folder)
        if isinstance(self.subword_model, BpeModel):
            (folder / _BPE).write_text(self.subword_model.content, encoding="utf-8")

    def vocabulary(self) -> list[str]:
        return [*self.subword_model.names(), "PAD_None", "BOS_None", "EOS_None"]

    def fingerprint(self) -> str:
        """The same names with other merges are other ids of a text."""
        return hashlib.sha256(f"{super().fingerprint()} {self.subword_model.digest()}".encode()).hexdigest()


def read_bpe(path: Path) -> BpeModel:
    """A `tokenizer.json` of Hugging Face's library. Raises UnknownTokenizerError."""
    try:
        return BpeModel(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnknownTokenizerError(f"cannot read {path}: {error.strerror}") from error
    except (UnknownTokenizerError, UnicodeDecodeError) as error:
        raise UnknownTokenizerError(f"{path}: {error}") from error


def _scheme_of(configuration: dict[str, Any]) -> Any:
    """Up to 0.1.0 it was called the form."""
    return configuration["form"] if "form" in configuration else configuration["scheme"]
