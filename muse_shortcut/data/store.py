"""The token store: one long memory-mapped array of ids, and what is known of its pieces.

    store/  tokens.npy (N, K) uint16 or uint32    offsets.npy (P + 1,) int64    pieces.jsonl    manifest.json
            tokenizer/

The pieces of a split lie together, so a split is one slice. Does not know what an id means.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    def split(self, name: str) -> NDArray[np.unsignedinteger[Any]]:
        """(N', K): the ids of all the pieces of a split, one after another."""
        inside = [p for p, piece in enumerate(self.pieces) if piece.split == name]
        if not inside:
            return self.tokens[:0]
        return self.tokens[self.offsets[inside[0]] : self.offsets[inside[-1] + 1]]

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
        tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
        offsets = np.load(folder / "offsets.npy", allow_pickle=False)
        lines = (folder / "pieces.jsonl").read_text(encoding="utf-8").splitlines()
        pieces = tuple(Piece(**json.loads(line)) for line in lines)
        counts = (manifest["tokens"], manifest["streams"], manifest["pieces"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the store {folder} is damaged: {str(error).splitlines()[0]}") from error
    if (*tokens.shape, len(pieces)) != counts or len(offsets) != len(pieces) + 1 or offsets[-1] != len(tokens):
        raise StoreError(
            f"the store {folder} is damaged: its manifest counts (tokens, streams, pieces) {counts}, "
            f"its files {(*tokens.shape, len(pieces))}"
        )
    return Store(folder=folder, manifest=manifest, tokens=tokens, offsets=offsets, pieces=pieces)
