"""Converts bytes to ids with byte-level BPE (Hugging Face's `tokenizers`) or characters. All bytes are restored
exactly, except with a closed alphabet."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.errors import UnknownTokenizerError, UnreadablePieceError
from muse_tokenizers.text.utf8 import runs

__all__ = ["LETTERS", "BpeModel", "CharacterModel", "SubwordModel", "train_bpe"]

Flat = NDArray[np.int64]
"""(T,) ids."""

LETTERS = "abcdefghijklmnopqrstuvwxyz "
"""The alphabet of text8 (Mahoney 2011)."""
_PART = 2**16
"""Number of characters that are encoded at once: the library stores much more per token than its id."""
_SEAM = re.compile(r"(?<=\S\n)(?=[^\W_])|(?<=[^\W_])(?= [^\W\d_])")
"""Where text can be cut without changing its tokens, with the patterns of GPT-2, GPT-4 and Llama 3: after a single line
end before a word; between two words, before their single space."""
_SPLITTING = {"ByteLevel", "Digits", "Split"}
"""Pre-tokenizers that may be combined with byte-level BPE; of Split, those that remove nothing."""


def _byte_letters() -> dict[str, int]:
    """Return the letters for bytes in a byte-level vocabulary (Radford et al. 2019): printable ones represent
    themselves, the others 256, 257, ..."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTES = _byte_letters()


class SubwordModel(ABC):
    """Converts bytes to ids."""

    scheme: ClassVar[str]
    tokens: tuple[bytes, ...]
    """(V,) bytes of each id; empty for an id that no text has."""

    @abstractmethod
    def encode(self, data: bytes) -> Flat:
        """Encode bytes. Raises UnreadablePieceError if a character has no id."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the V names."""

    @abstractmethod
    def digest(self) -> str:
        """Return the SHA-256 of everything that determines ids."""


class BpeModel(SubwordModel):
    """Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019)."""

    scheme: ClassVar[str] = "bpe"

    def __init__(self, content: str) -> None:
        """
        Args:
            content: Content of a `tokenizer.json` of Hugging Face's library.

        Raises:
            UnknownTokenizerError: The content is invalid, or not byte-level BPE.
        """
        self._names, special, plain = _read(content)
        self.content = plain
        self.tokens = tuple(
            b"" if name in special or not name else bytes(_BYTES[letter] for letter in name) for name in self._names
        )
        self._of_byte = np.array([self._names.index(letter) for letter in sorted(_BYTES, key=_BYTES.__getitem__)])

    @cached_property
    def _library(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.content)

    def encode(self, data: bytes) -> Flat:
        found: list[Flat] = [np.zeros(0, dtype=np.int64)]
        for run in runs(data):
            if isinstance(run, bytes):
                found.append(self._of_byte[np.frombuffer(run, dtype=np.uint8)])
                continue
            for part in _parts(run):
                encoded = self._library.encode_batch_fast([part], add_special_tokens=False)[0]
                found.append(np.array(encoded.ids, dtype=np.int64))
        return np.concatenate(found)

    def names(self) -> list[str]:
        return list(self._names)

    def digest(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()


def _parts(text: str) -> Iterator[str]:
    """Yield parts of a text whose tokens together are those of the text."""
    start = 0
    while len(text) - start > 2 * _PART:
        seam = _SEAM.search(text, start + _PART)
        if seam is None:
            break
        yield text[start : seam.start()]
        start = seam.start()
    yield text[start:]


def _read(content: str) -> tuple[list[str], set[str], str]:
    """Return the names by id, those that are not text, and the file without everything that is not BPE."""
    try:
        read = json.loads(content)
        model, splitting = read["model"], read["pre_tokenizer"]
        kind, vocabulary, merges = model["type"], model["vocab"], model["merges"]
        names = [""] * (max(vocabulary.values()) + 1)
        for name, number in vocabulary.items():
            names[number] = name
        special = {token["content"] for token in read.get("added_tokens") or [] if token["special"]}
        normalizer = read.get("normalizer")
        steps = splitting["pretokenizers"] if splitting["type"] == "Sequence" else [splitting]
        levels = [step for step in steps if step["type"] == "ByteLevel"]
        loses = any(step["type"] not in _SPLITTING or step.get("behavior") == "Removed" for step in steps)
        prefixed = any(level.get("add_prefix_space") for level in levels)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UnknownTokenizerError("it is not a tokenizer.json of Hugging Face's tokenizers, of BPE") from error
    if kind != "BPE" or len(levels) != 1 or normalizer is not None or prefixed or loses:
        raise UnknownTokenizerError(
            "it is not a byte-level BPE that gives every text back: allowed: model BPE, a pre-tokenizer ByteLevel "
            "without add_prefix_space, together with Digits and Split that removes nothing, no normalizer"
        )
    missing = [letter for letter in _BYTES if letter not in vocabulary]
    odd = [name for name in vocabulary if name not in special and not set(name) <= set(_BYTES)]
    if missing or odd or not all(type(number) is int and number >= 0 for number in vocabulary.values()):
        raise UnknownTokenizerError(
            f"its vocabulary lacks {len(missing)} of the 256 bytes and has {len(odd)} odd names"
        )
    plain = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": splitting, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": bool(model.get("ignore_merges", False)), "vocab": vocabulary, "merges": merges,
        },
    }  # fmt: skip
    # Not escaped, because most names contain non-ASCII letters.
    return names, special, json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n"


def train_bpe(texts: Iterable[bytes], size: int) -> BpeModel:
    """Train BPE merges.

    Args:
        texts: Training texts.
        size: Size of the vocabulary, at least 256.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[], show_progress=False
    )
    library.train_from_iterator(
        (part for data in texts for run in runs(data) if isinstance(run, str) for part in _parts(run)), trainer
    )
    return BpeModel(library.to_str())


class CharacterModel(SubwordModel):
    """Character vocabulary: the most frequent characters of a text; others are encoded as bytes or, with a closed
    alphabet, refused."""

    scheme: ClassVar[str] = "characters"

    def __init__(self, characters: str, *, closed: bool) -> None:
        """
        Args:
            characters: Distinct characters.
            closed: Whether other characters are refused.

        Raises:
            UnknownTokenizerError: A character occurs twice, or there is none.
        """
        if not characters or len(set(characters)) != len(characters):
            raise UnknownTokenizerError("an alphabet has at least one character, and each once")
        self.characters, self.closed = characters, closed
        codes = np.frombuffer(characters.encode("utf-32-le"), dtype="<u4")
        self._order = np.argsort(codes)
        self._codes = codes[self._order]
        fallback = () if closed else tuple(bytes([byte]) for byte in range(256))
        self.tokens = (*(character.encode() for character in characters), *fallback)

    def encode(self, data: bytes) -> Flat:
        text = data.decode("utf-8", "surrogateescape")
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        known = self._codes[places] == codes
        ids: Flat = self._order[places].astype(np.int64)
        if known.all():
            return ids
        strange = np.flatnonzero(~known)
        if self.closed:
            first = int(strange[0])
            raise UnreadablePieceError(
                f"character {first + 1:,} is {text[first]!r}; allowed: {len(self.characters)} characters, "
                f"{self.characters!r}"
            )
        parts, before = [], 0
        for place in strange.tolist():
            raw = text[place].encode("utf-8", "surrogateescape")
            parts += [ids[before:place], np.frombuffer(raw, dtype=np.uint8) + np.int64(len(self.characters))]
            before = place + 1
        return np.concatenate([*parts, ids[before:]])

    def names(self) -> list[str]:
        return [f"Character_{character}" for character in self.characters] + [
            f"Byte_{token[0]}" for token in self.tokens[len(self.characters) :]
        ]

    def digest(self) -> str:
        return hashlib.sha256(f"{self.closed} {self.characters}".encode()).hexdigest()

    @classmethod
    def of_texts(cls, texts: Iterable[bytes], size: int) -> CharacterModel:
        """Build a vocabulary of the most frequent characters of texts; `size` includes the bytes, and must be above
        256."""
        counts = np.zeros(0x110000, dtype=np.int64)
        for data in texts:
            text = "".join(run for run in runs(data) if isinstance(run, str))
            codes, times = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype="<u4"), return_counts=True)
            counts[codes] += times
        # The most frequent first; ties are ordered by code point.
        order = np.argsort(-counts, kind="stable")[: max(0, size - 256)]
        chosen = sorted(chr(code) for code in order.tolist() if counts[code])
        return cls("".join(chosen) or " ", closed=False)
