"""The domain of text: its files, prompts, grammar and measures. A piece is bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np

from muse_tokenizers.base import Constraints, Grammar, Ids, Prompt, Span, Unit
from muse_tokenizers.built_in import BUILT_IN, UNITS
from muse_tokenizers.domain import EMBEDDED, Domain, View
from muse_tokenizers.domain_info import DomainInfo
from muse_tokenizers.errors import UnreadablePieceError, Warn, warn_about_file
from muse_tokenizers.measures import CopyThreshold, CopyUnits, Measure
from muse_tokenizers.text.constraints import TextConstraints
from muse_tokenizers.text.files import LOOKED_AT, check_text, read_text
from muse_tokenizers.text.grammar import TextGrammar
from muse_tokenizers.text.measures import measure_text
from muse_tokenizers.text.tokenizer import TextTokenizer
from muse_tokenizers.text.utf8 import ILL, state_after, transitions

__all__ = ["TextDomain"]

_SPACES = b" \t\r\n"
_CONTROLS = frozenset({*range(32), 127} - {*b"\t\n\f\r"})
"""Bytes that are never generated, although they may be read."""
_WORD_END = re.compile(rb"[^ \t\r\n](?=[ \n])")
_LONGEST_PROMPT = 2**24
"""Largest prompt in bytes: all its ids are in the sidecar, and a model sees only a few thousand of them."""
_LONGEST_CHARACTER = 4
"""Largest length in bytes, and therefore in tokens."""
_LONGEST_WORD = 64
"""Longest word in bytes; beyond it, a text has no spaces between its words."""


class TextDomain(Domain[bytes]):
    """The domain of text; a piece is bytes."""

    tokenizer: TextTokenizer
    info: ClassVar[DomainInfo] = BUILT_IN["text"]
    view: ClassVar[View] = "text"
    unit: ClassVar[Unit] = UNITS["text"]
    copy_threshold: ClassVar[CopyThreshold] = ("count", 50)
    constraints_type: ClassVar[type[Constraints]] = TextConstraints

    default_temperature: ClassVar[float] = 0.8

    def __init__(self, tokenizer: TextTokenizer) -> None:
        super().__init__(tokenizer)
        self._leads_to = transitions(tokenizer.tokens)
        # A file with a null byte would be refused as a prompt; other control characters control terminals.
        self._leads_to[:, [any(byte in _CONTROLS for byte in token) for token in tokenizer.tokens]] = ILL

    # Files

    @property
    def encoding(self) -> str | None:
        return self.tokenizer.encoding

    def read(
        self,
        path: str | Path,
        *,
        limit: float | None = None,
        warn: Warn = warn_about_file,
        encoding: str | None = None,
    ) -> bytes:
        """Read a text file as UTF-8 bytes; see `Domain.read`. `encoding` is that of files without a byte order mark.
        All of the file is read, because a continuation depends on its end."""
        path = Path(path)
        with suppress(OSError):
            size = path.stat().st_size
            if size > _LONGEST_PROMPT:
                raise UnreadablePieceError(
                    f"{path} has {size:,} bytes; allowed: up to {_LONGEST_PROMPT:,}, of which the end is continued"
                )
        return self._checked(read_text(path, encoding=encoding, warn=warn), str(path))

    def _checked(self, data: bytes, name: str) -> bytes:
        check_text(data, name)
        try:
            self.tokenizer.subword_model.encode(data[:LOOKED_AT])
        except UnreadablePieceError as error:
            raise UnreadablePieceError(f"{name} has a character that the vocabulary lacks: {error}") from error
        return data

    def read_part(self, path: str | Path, part: Span | None, *, warn: Warn = warn_about_file) -> bytes:
        data = read_text(Path(path), part, self.tokenizer.line_ends, encoding=self.tokenizer.encoding, warn=warn)
        return self._checked(data, str(path))

    def dumps(self, piece: bytes) -> bytes:
        return piece

    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> bytes:
        return self._checked(data, name)

    def duration(self, piece: bytes) -> float:
        return float(len(piece))

    # Continuing

    def find_split_point(self, piece: bytes, length: float) -> float:
        most = max(1, min(len(piece), round(length)))
        if most == len(piece):
            return float(most)
        # Before the space or line end after a word: the continuation begins like a word, and the prompt has the same
        # ids as in the whole text. The shortest prompt is the first word.
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
            self.tokenizer.decode(np.concatenate([prompt.ids, ids]))
            if prompt.piece is None
            else prompt.piece + self.tokenizer.decode(ids)
        )

    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar:
        return TextGrammar(
            state=state_after(self.tokenizer.decode(prompt[-8:])),
            candidates=candidates,
            leads_to=self._leads_to,
            lengths=self.tokenizer.lengths,
            pad=self.tokenizer.pad,
            end=self.tokenizer.end,
            requested=TextConstraints.of(constraints).bytes,
        )

    # What a piece is like

    def lengths(self, prompt: Prompt[bytes], ids: Ids, piece: bytes) -> tuple[dict[str, float], dict[str, float]]:
        parts = piece[: round(prompt.split_point)], piece[round(prompt.split_point) :]
        given, new = ({"bytes": len(one), "characters": len(one.decode("utf-8", "replace"))} for one in parts)
        return dict[str, float](given), dict[str, float](new)

    def measure(self, piece: bytes, start: float, end: float) -> dict[str, Measure]:
        return measure_text(piece[round(start) : round(end)])

    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        data = self.tokenizer.decode(ids)[round(start) : round(end)]
        text = data.decode("utf-8", "replace")
        codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64)
        sizes = np.array([len(character.encode()) for character in text], dtype=np.int64)
        return CopyUnits.of_codes(codes, 0x110000, (round(start) + np.cumsum(sizes) - sizes).astype(np.float64))

    def labels_after(
        self, ids: Ids, stream: int, others: Sequence[int], prompt: Prompt[bytes] | None = None
    ) -> list[str]:
        # The text before may end inside a character.
        before, describe = ids[-_LONGEST_CHARACTER:], self.tokenizer.describe
        return [describe(np.append(before, [[other]], axis=0))[-1][0].label for other in others]
