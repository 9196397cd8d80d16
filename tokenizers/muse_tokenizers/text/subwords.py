"""Bytes to ids: byte-level BPE on Hugging Face's `tokenizers`, and characters. Any bytes come back as they were, but
where an alphabet is closed."""

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
"""Characters that are encoded at once: what the library keeps of each token weighs far more than its id."""
_SEAM = re.compile(r"(?<=\S\n)(?=[^\W_])|(?<=[^\W_])(?= [^\W\d_])")
"""Where text may be cut and its tokens stay the same, with the patterns of GPT-2, GPT-4 and Llama 3: after a line end
alone, before a word; between two words, before their one space."""
_SPLITTING = {"ByteLevel", "Digits", "Split"}
"""Pre-tokenizers that may stand together with bytes; of Split those that take nothing away."""


def _byte_letters() -> dict[str, int]:
    """The letters that stand for bytes in a byte-level vocabulary (Radford et al. 2019): the printable ones for
    themselves, the others for 256, 257, ..."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTES = _byte_letters()


class SubwordModel(ABC):
    """Bytes to ids. What the ids mean is `tokens`."""

    scheme: ClassVar[str]
    tokens: tuple[bytes, ...]
    """(V,): the bytes of each id; none for one that no text has."""

    @abstractmethod
    def encode(self, data: bytes) -> Flat:
        """Raises UnreadablePieceError: there is no id for it."""

    @abstractmethod
    def names(self) -> list[str]:
        """V names."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of all that decides about ids."""


class BpeModel(SubwordModel):
    """Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019)."""

    scheme: ClassVar[str] = "bpe"

    def __init__(self, content: str) -> None:
        """
        Args:
            content: of a `tokenizer.json` of Hugging Face's library.

        Raises:
            UnknownTokenizerError: it is not one, or not byte-level.
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
    """The text in parts whose tokens together are its own."""
    start = 0
    while len(text) - start > 2 * _PART:
        seam = _SEAM.search(text, start + _PART)
        if seam is None:
            break
        yield text[start : seam.start()]
        start = seam.start()
    yield text[start:]


def _read(content: str) -> tuple[list[str], set[str], str]:
    """The names by id, those that are no text, and the file without all that is not BPE."""
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
            "without add_prefix_space, beside it Digits and Split that removes nothing, no normalizer"
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
    # Not escaped: most names are letters beyond ASCII.
    return names, special, json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n"


def train_bpe(texts: Iterable[bytes], size: int) -> BpeModel:
    """Learn merges.

    Args:
        texts: to learn from.
        size: of the vocabulary, at least 256.
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
    """Characters, the likeliest ones of a text; of others the bytes, or, in a closed alphabet, nothing."""

    scheme: ClassVar[str] = "characters"

    def __init__(self, characters: str, *, closed: bool) -> None:
        """
        Args:
            characters: each once.
            closed: nothing else is text.

        Raises:
            UnknownTokenizerError: one comes twice, or none at all.
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
        """The likeliest characters of texts; `size` is that of the vocabulary, bytes included, so above 256."""
        counts = np.zeros(0x110000, dtype=np.int64)
        for data in texts:
            text = "".join(run for run in runs(data) if isinstance(run, str))
            codes, times = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype="<u4"), return_counts=True)
            counts[codes] += times
        # The likeliest first; of those as likely the one with the lower number.
        order = np.argsort(-counts, kind="stable")[: max(0, size - 256)]
        chosen = sorted(chr(code) for code in order.tolist() if counts[code])
        return cls("".join(chosen) or " ", closed=False)
