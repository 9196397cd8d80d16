"""Token stores: one long memory-mapped array of ids, and the metadata of its pieces.

    store/  tokens.npy (N, K) uint16 or uint32    offsets.npy (P + 1,) int64    pieces.jsonl    manifest.json
            tokenizer/

The pieces of a split are contiguous, so a split is one slice. Does not know what an id means.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.arrays import map_array
from muse_shortcut.data.scan import source_of
from muse_shortcut.errors import StoreError
from muse_tokenizers.base import Tokenizer
from muse_tokenizers.json_files import parse_json, read_json, version_problem

__all__ = ["SPLITS", "VERSION", "Piece", "Store", "open_store"]

SPLITS = ("train", "validation", "test")
VERSION = 1
_READ_AT_ONCE = 2**24
"""Size of a block of ids in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One piece of a store."""

    name: str
    """Path inside the source."""
    split: str
    group: str
    """Pieces of one group are in the same split."""
    tokens: int
    """Length in steps, including begin and end."""
    seconds: float | None
    """Duration; None in a domain without time."""
    bytes: int | None = None
    """Length of a text in bytes; None in other domains."""

    @property
    def length(self) -> float:
        """Length in the unit of the domain: seconds, or bytes of text."""
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
        """Fingerprint of the tokenizer that made the ids."""
        return str(self.manifest["fingerprint"])

    @property
    def domain(self) -> str:
        """Kind of the domain: "midi", "audio", "text", or that of a registered tokenizer."""
        return str(self.manifest["domain"])

    @property
    def tokenizer_folder(self) -> Path:
        """Folder of the tokenizer that made the ids, for `load_tokenizer`."""
        return self.folder / "tokenizer"

    def source(self, piece: int) -> str:
        """Return the name of the source of a piece: its recipe or the name of its folder; `all` in a store of one
        source.

        In a store of several sources, the names of pieces begin with the source and its number: "mutopia-1/midi/...".
        """
        described = self.manifest["source"]
        sources = described.get("sources") if isinstance(described, dict) else None
        several = isinstance(sources, list) and len(sources) > 1
        return source_of(self.pieces[piece].name) if several else "all"

    def split(self, name: str) -> NDArray[np.unsignedinteger[Any]]:
        """Return the ids of all pieces of a split, one after another, (N', K)."""
        inside = [p for p, piece in enumerate(self.pieces) if piece.split == name]
        if not inside:
            return self.tokens[:0]
        return self.tokens[self.offsets[inside[0]] : self.offsets[inside[-1] + 1]]

    def opening(self, name: str, steps: int) -> NDArray[np.int64]:
        """Return the first steps of the longest piece of a split, at most `steps`, without its end: (T, K) int64."""
        inside = [p for p, piece in enumerate(self.pieces) if piece.split == name]
        longest = max(inside, key=lambda p: self.pieces[p].tokens)
        start, end = int(self.offsets[longest]), int(self.offsets[longest + 1]) - 1
        return self.tokens[start : min(end, start + steps)].astype(np.int64)

    def check_ids(self, vocabulary_size: int, watch: Callable[[int], None] = lambda _: None) -> None:
        """Read all ids and check that they are unchanged and inside the vocabulary. This takes about a second per
        gigabyte.

        Args:
            vocabulary_size: Vocabulary size of the tokenizer that made them.
            watch: Called with the number of bytes read so far.

        Raises:
            StoreError: An id was changed.
        """
        digest, steps = hashlib.sha256(), max(1, _READ_AT_ONCE // (self.tokens.itemsize * self.tokens.shape[1] or 1))
        highest = 0
        for start in range(0, len(self.tokens), steps):
            ids = np.ascontiguousarray(self.tokens[start : start + steps])
            digest.update(ids.data)
            highest = max(highest, int(ids.max(initial=0)))
            watch((start + len(ids)) * self.tokens.itemsize * self.tokens.shape[1])
        if digest.hexdigest() != self.manifest["sha256"]:
            raise StoreError(
                f"the store {self.folder} is damaged: the ids in tokens.npy are not those that were prepared (their "
                "SHA-256 is another); prepare it again"
            )
        if highest >= vocabulary_size:
            raise StoreError(
                f"the store {self.folder} is damaged: it has the id {highest}, its vocabulary {vocabulary_size} ids; "
                "prepare it again"
            )

    def check_tokenizer(self, tokenizer: Tokenizer[Any], owner: str) -> None:
        """Check that the ids of a tokenizer mean the same as those of the store.

        Args:
            tokenizer: The tokenizer.
            owner: What uses the tokenizer, for the message.

        Raises:
            StoreError: `owner` is of another domain, or uses another vocabulary.
        """
        if tokenizer.kind != self.domain:
            raise StoreError(
                f"the store {self.folder} is of {self.domain}, and {owner} of {tokenizer.kind}; allowed: a checkpoint "
                f"of {self.domain}, or another store"
            )
        fingerprint = tokenizer.fingerprint()
        if fingerprint != self.fingerprint:
            raise StoreError(
                f"the store {self.folder} was made by another tokenizer ({self.fingerprint[:12]}) than {owner} "
                f"({fingerprint[:12]}); prepare it again with the tokenizer of that checkpoint"
            )


def open_store(folder: str | Path) -> Store:
    """Open a store and check that its parts agree; `Store.check_ids` checks the ids themselves.

    Raises:
        StoreError: The store is missing, incomplete, damaged or of another version.
    """
    folder = Path(folder)
    manifest_path = folder / "manifest.json"
    if not manifest_path.is_file():
        unfinished = (folder / "partial").is_dir()
        raise StoreError(
            f"{folder} is unfinished; run the same muse-prepare command again to resume"
            if unfinished
            else f"{folder} is not a token store: it has no manifest.json; create one with muse-prepare"
        )

    def refuse(reason: str) -> StoreError:
        return StoreError(f"the store {folder} is damaged: {reason}")

    manifest = _read_manifest(manifest_path, refuse)
    try:
        tokens, offsets = (map_array(folder / name) for name in ("tokens.npy", "offsets.npy"))
        lines = (folder / "pieces.jsonl").read_bytes().splitlines()
        pieces = tuple(_read_piece(line, f"pieces.jsonl, line {n + 1},", refuse) for n, line in enumerate(lines))
    except (OSError, ValueError) as error:
        raise refuse((str(error).splitlines() or [type(error).__name__])[0]) from error
    counts = (manifest["tokens"], manifest["streams"], manifest["pieces"])
    if (*tokens.shape, len(pieces)) != counts or tokens.dtype not in (np.uint16, np.uint32):
        raise refuse(
            f"its manifest counts (tokens, streams, pieces) {counts}, "
            f"its files {(*tokens.shape, len(pieces))} of {tokens.dtype}"
        )
    ends = [0, *accumulate(piece.tokens for piece in pieces)]
    if offsets.dtype != np.int64 or offsets.tolist() != ends or ends[-1] != len(tokens):
        raise refuse("offsets.npy and pieces.jsonl disagree about lengths")
    if [piece.split for piece in pieces] != [name for name in SPLITS for piece in pieces if piece.split == name]:
        raise refuse(f"its pieces are not in the order {', '.join(SPLITS)}")
    return Store(folder=folder, manifest=manifest, tokens=tokens, offsets=np.array(offsets), pieces=pieces)


def _read_manifest(path: Path, refuse: Callable[[str], StoreError]) -> dict[str, Any]:
    manifest = read_json(path, StoreError)
    if not isinstance(manifest, dict):
        raise refuse("manifest.json is not an object")
    kinds = {"domain": str, "fingerprint": str, "sha256": str, "tokens": int, "streams": int, "pieces": int}
    for name in ("version", "source", *kinds):
        if name not in manifest:
            raise refuse(f"its manifest has no {name!r}")
    problem = version_problem(manifest["version"], VERSION)
    if problem is not None:
        raise StoreError(f"the store {path.parent} cannot be read: {problem}")
    for name, kind in kinds.items():
        if type(manifest[name]) is not kind:
            wanted = "text" if kind is str else "a whole number"
            raise refuse(f"its manifest's {name} is {repr(manifest[name])[:40]}; allowed: {wanted}")
    return manifest


def _read_piece(line: bytes, where: str, refuse: Callable[[str], StoreError]) -> Piece:
    content = parse_json(line, where.rstrip(","), refuse)
    try:
        piece = Piece(**content)
    except TypeError as error:
        raise refuse(f"{where} does not describe a piece") from error
    checks = {
        "name": isinstance(piece.name, str),
        "split": isinstance(piece.split, str),
        "group": isinstance(piece.group, str),
        "tokens": type(piece.tokens) is int and 1 <= piece.tokens < 2**62,
        "seconds": piece.seconds is None or (type(piece.seconds) in (int, float) and 0 <= piece.seconds < math.inf),
        "bytes": piece.bytes is None or (type(piece.bytes) is int and 0 <= piece.bytes < 2**62),
    }
    for name, holds in checks.items():
        if not holds:
            raise refuse(f"{where} has an impossible {name}, {repr(getattr(piece, name))[:40]}")
    return piece
