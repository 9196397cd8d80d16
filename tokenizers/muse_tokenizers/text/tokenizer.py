"""The text tokenizer. A piece is bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from muse_tokenizers.base import (
    Ids,
    NewTokenizer,
    Prompt,
    Token,
    Tokenizer,
)
from muse_tokenizers.built_in import VOCABULARY
from muse_tokenizers.errors import (
    InvalidOptionError,
    UnknownTokenizerError,
    UnreadablePieceError,
)
from muse_tokenizers.text.encodings import check_encoding
from muse_tokenizers.text.files import LINE_ENDS, LineEnds
from muse_tokenizers.text.labels import label_in
from muse_tokenizers.text.subwords import LETTERS, BpeModel, CharacterModel, SubwordModel, train_bpe
from muse_tokenizers.text.utf8 import characters_before

__all__ = ["TextTokenizer", "read_bpe"]

_BPE = "bpe.json"


class TextTokenizer(Tokenizer[bytes]):
    """Encodes bytes of text."""

    kind: ClassVar[str] = "text"
    streams = 1

    def __init__(self, subword_model: SubwordModel, line_ends: LineEnds = "lf", encoding: str | None = None) -> None:
        """
        Args:
            subword_model: Converts bytes to ids.
            line_ends: Line ends of prepared files: `lf` removes carriage returns before line feeds; `keep` keeps them.
                Prompts are unchanged.
            encoding: Encoding of prepared files without a byte order mark; None for UTF-8 or automatic detection.
        """
        self.encoding = encoding
        self.subword_model, self.line_ends = subword_model, line_ends
        plain = len(subword_model.tokens)
        self.pad, self.begin, self.end = plain, plain + 1, plain + 2
        self.vocabulary_size = plain + 3
        self.tokens = (*subword_model.tokens, b"", b"", b"")
        self.lengths = np.array([len(token) for token in self.tokens])

    @classmethod
    def create(cls, new: NewTokenizer) -> TextTokenizer:
        name, size = new.name or new.of_recipe or "bpe", new.options.get("vocabulary_size")
        subword_model: SubwordModel
        if name in ("bpe", "characters"):
            size = VOCABULARY if size is None else size
            if not 257 <= size <= 2**17:
                raise InvalidOptionError("vocabulary_size", size, f"257 to {2**17}, 256 of which are bytes")
            learn = train_bpe if name == "bpe" else CharacterModel.of_texts
            with new.progress("learning a vocabulary") as bar:
                subword_model = learn(new.texts(bar), size)
        elif size is not None:
            raise InvalidOptionError(
                "vocabulary_size", size, f"none for {name}, whose vocabulary is fixed; it is for bpe and characters"
            )
        elif name == "letters":
            subword_model = CharacterModel(LETTERS, closed=True)
        elif Path(name).is_file():
            subword_model = read_bpe(Path(name))
        else:
            raise InvalidOptionError(
                "tokenizer",
                name,
                "bpe, characters, letters, a tokenizer.json, a checkpoint, or text, the shipped one",
            )
        return cls(subword_model, new.options.get("line_ends", "lf"), new.options.get("encoding"))

    def use_encoding(self, encoding: str | None) -> None:
        self.encoding = encoding

    # Ids

    def encode(self, piece: bytes) -> Ids:
        return self.subword_model.encode(piece)[:, None]

    def decode(self, ids: Ids) -> bytes:
        return b"".join(self.tokens[number] for number in ids[:, 0].tolist())

    def describe(self, ids: Ids, prompt: Prompt[bytes] | None = None) -> list[list[Token]]:
        flat = ids[:, 0]
        ends = np.cumsum(self.lengths[flat])
        whole = self.decode(ids)
        partial_frames = characters_before(whole)
        special = {self.pad: "padding", self.begin: "begin", self.end: "end"}
        described = []
        for number, end in zip(flat.tolist(), ends.tolist(), strict=True):
            data = self.tokens[number]
            start = end - len(data)
            # A character belongs to every token that contains one of its bytes.
            first = max(0, int(partial_frames[start + 1]) - 1) if data else int(partial_frames[start])
            label, kind = label_in(whole, start, end) if data else (special.get(number, "no text"), "special")
            characters = (first, int(partial_frames[end]))
            described.append([Token(id=number, label=label, kind=kind, start=start, end=end, characters=characters)])
        return described

    # The tokenizer as data

    def configuration(self) -> dict[str, Any]:
        own: dict[str, Any] = {"sha256": self.subword_model.digest()}
        if isinstance(self.subword_model, CharacterModel):
            own = {"characters": self.subword_model.characters, "closed": self.subword_model.closed}
        files = {} if self.encoding is None else {"encoding": self.encoding}
        return {"scheme": self.subword_model.scheme, "line_ends": self.line_ends, **files, **own}

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

    def extra_files(self) -> dict[str, bytes]:
        """Return the merges of a byte-pair encoding."""
        return {_BPE: self.subword_model.content.encode()} if isinstance(self.subword_model, BpeModel) else {}

    def vocabulary(self) -> list[str]:
        return [*self.subword_model.names(), "PAD_None", "BOS_None", "EOS_None"]

    def fingerprint(self) -> str:
        """Return the fingerprint, which covers the merges: equal names with other merges give other ids."""
        return hashlib.sha256(f"{super().fingerprint()} {self.subword_model.digest()}".encode()).hexdigest()


def read_bpe(path: Path) -> BpeModel:
    """Read a `tokenizer.json` of Hugging Face's library. Raises UnknownTokenizerError."""
    try:
        return BpeModel(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnknownTokenizerError(f"cannot read {path}: {error.strerror}") from error
    except (UnknownTokenizerError, UnicodeDecodeError) as error:
        raise UnknownTokenizerError(f"{path}: {error}") from error


def _scheme_of(configuration: dict[str, Any]) -> Any:
    """Read the scheme, which was called form up to 0.1.0."""
    return configuration["form"] if "form" in configuration else configuration["scheme"]
