"""The token store: one long memory-mapped array of ids, and what is known of its pieces.

    store/  tokens.npy (N, K) uint16 or uint32    offsets.npy (P + 1,) int64    pieces.jsonl    manifest.json
            tokenizer/

The pieces of a split lie together, so a split is one slice. Does not know what an id means.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.data.survey import source_of
from muse_shortcut.errors import StoreError

__all__ = ["SPLITS", "VERSION", "Piece", "Store", "open_store"]

SPLITS = ("train", "validation", "test")
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One piece of a store."""

    name: str
    """Its path inside the source."""
    split: str
    group: str
    """Pieces of one group are in one split."""
    tokens: int
    """Steps, begin and end included."""
    seconds: float | None
    """How long it lasts; None in a domain without time."""
    bytes: int | None = None
    """Of text."""

    @property
    def length(self) -> float:
        """In the domain's unit: seconds, or bytes of text."""
        return float(self.bytes or 0) if self.seconds is None else self.seconds


@dataclass(frozen=True, kw_only=True)
class Store:
    """An open store."""

    folder: Path
    manifest: dict[str, Any]
    tokens: NDArray[np.unsignedinteger[Any]]
    """(N, K), memory-mapped."""
    offsets: NDArray[np.int64]
    """(P + 1,): piece p is tokens[offsets[p] : offsets[p + 1]]."""
    pieces: tuple[Piece, ...]

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer that made the ids."""
        return str(self.manifest["fingerprint"])

    @property
    def domain(self) -> str:
        return str(self.manifest["domain"])

    @property
    def tokenizer_folder(self) -> Path:
        return self.folder / "tokenizer"

    def source(self, piece: int) -> str:
        """What the source of a piece is called: its recipe or its folder's name; `all` in a store of one source.

        In a store of several the names of its pieces begin with it and its number: "mutopia-1/midi/...".
        """
        described = self.manifest["source"]
        several = isinstance(described, dict) and len(described.get("sources", [])) > 1
        return source_of(self.pieces[piece].name) if several else "all"

    def split(self, name: str) -> NDArray[np.unsignedinteger[Any]]:
        """(N', K): the ids of all the pieces of a split, one after another."""
        inside = [p for p, piece in enumerate(self.pieces) if piece.split == name]
        if not inside:
            return self.tokens[:0]
        return self.tokens[self.offsets[inside[0]] : self.offsets[inside[-1] + 1]]

    def opening(self, name: str, steps: int) -> NDArray[np.int64]:
        """(T, K): the first steps, at most so many, of the longest piece of a split, its end aside."""
        inside = [p for p, piece in enumerate(self.pieces) if piece.split == name]
        longest = max(inside, key=lambda p: self.pieces[p].tokens)
        start, end = int(self.offsets[longest]), int(self.offsets[longest + 1]) - 1
        return self.tokens[start : min(end, start + steps)].astype(np.int64)

    def check_tokenizer(self, fingerprint: str, owner: str) -> None:
        """Raises StoreError: `owner` uses another vocabulary."""
        if fingerprint != self.fingerprint:
            raise StoreError(
                f"the store {self.folder} was made by another tokenizer ({self.fingerprint[:12]}) than {owner} "
                f"({fingerprint[:12]}); prepare it again with --tokenizer and that checkpoint"
            )


def open_store(folder: Path) -> Store:
    """Open a store and check that its parts agree.

    Raises:
        StoreError: it is missing, unfinished, damaged or of another version.
    """
    manifest_path = folder / "manifest.json"
    if not manifest_path.is_file():
        unfinished = (folder / "partial").is_dir()
        raise StoreError(
            f"{folder} is unfinished; run the same muse-prepare again to go on"
            if unfinished
            else f"{folder} is not a token store: it has no manifest.json; muse-prepare makes one"
        )
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        if manifest["version"] != VERSION:
            raise StoreError(f"{folder} has version {manifest['version']}; this program reads version {VERSION}")
        for name in ("domain", "fingerprint", "source", "sha256"):
            manifest[name]
        tokens = _load(folder / "tokens.npy", mmap_mode="r")
        offsets = _load(folder / "offsets.npy")
        lines = (folder / "pieces.jsonl").read_text(encoding="utf-8").splitlines()
        pieces = tuple(Piece(**json.loads(line)) for line in lines)
        counts = (manifest["tokens"], manifest["streams"], manifest["pieces"])
        ends = [0, *accumulate(piece.tokens for piece in pieces)]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise StoreError(f"the store {folder} is damaged: {_reason(error)}") from error
    if (*tokens.shape, len(pieces)) != counts or tokens.dtype not in (np.uint16, np.uint32):
        raise StoreError(
            f"the store {folder} is damaged: its manifest counts (tokens, streams, pieces) {counts}, "
            f"its files {(*tokens.shape, len(pieces))} of {tokens.dtype}"
        )
    if offsets.tolist() != ends or ends[-1] != len(tokens):
        raise StoreError(f"the store {folder} is damaged: offsets.npy and pieces.jsonl tell other lengths")
    if [piece.split for piece in pieces] != [name for name in SPLITS for piece in pieces if piece.split == name]:
        raise StoreError(f"the store {folder} is damaged: its pieces are not in the order {', '.join(SPLITS)}")
    return Store(folder=folder, manifest=manifest, tokens=tokens, offsets=offsets, pieces=pieces)


def _load(path: Path, mmap_mode: Literal["r"] | None = None) -> NDArray[Any]:
    # An empty file, and one that is a zip, are no arrays to numpy in ways of their own.
    try:
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (EOFError, BadZipFile) as error:
        raise ValueError(f"{path.name} is no array") from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{path.name} is no array")
    return array


def _reason(error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return f"its manifest has no {text}" if isinstance(error, KeyError) else text
