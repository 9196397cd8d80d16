"""Writes the files of a store from the journal of its preparation: the pieces that are kept, their splits, and the
manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from muse_shortcut.data.journal import Entry, Journal
from muse_shortcut.data.scan import SourceFile
from muse_shortcut.data.splits import draw_splits
from muse_shortcut.data.store import SPLITS, VERSION, Piece
from muse_shortcut.errors import OutputError, StoreError
from muse_shortcut.files import atomic_folder, atomic_path, write_text
from muse_tokenizers.base import Unit
from muse_tokenizers.domain import Domain
from muse_tokenizers.wording import about, counted

__all__ = ["write_store"]


def write_store(
    sources: Sequence[Sequence[SourceFile]],
    journal: Journal,
    domain: Domain[Any],
    out: Path,
    *,
    seed: int,
    held_out: float,
    source: dict[str, Any],
    unused: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Write a store from a journal, and return its manifest.

    Raises:
        StoreError: No file could be used.
        OutputError: A file could not be written.
    """
    entries = [(file, journal.entries[file.name]) for source in sources for file in source]
    taken = [(file, entry) for file, entry in entries if entry.reason is None]
    rejects = [{"name": file.name, "reason": entry.reason} for file, entry in entries if entry.reason is not None]
    warnings = [{"name": file.name, "warning": line} for file, entry in taken for line in entry.warnings]
    if not taken:
        first = f"; the first: {about(rejects[0]['name'], rejects[0]['reason'])}" if rejects else ""
        raise StoreError(f"none of the files can be used ({counted(len(entries), 'file')} found){first}")
    readable = [
        [(file, entry.digest) for file in source if (entry := journal.entries[file.name]).reason is None]
        for source in sources
    ]
    split_of, gone = draw_splits(readable, seed, held_out)
    rejects += [{"name": name, "reason": reason} for name, reason in unused]
    rejects += [{"name": name, "reason": f"has the same content as {kept}"} for name, kept in sorted(gone.items())]
    pieces = [
        (entry, _piece(file, split, entry, domain.unit))
        for split in SPLITS
        for file, entry in taken
        if split_of.get(file.name) == split
    ]
    # Remove the manifest first, which marks a store as complete: otherwise a kill could leave a mixture of an old and a
    # new store.
    _remove(out / "manifest.json")
    tokens_digest = _write_tokens([entry for entry, _ in pieces], journal.ids(), out)
    write_text(out / "pieces.jsonl", "".join(json.dumps(asdict(piece)) + "\n" for _, piece in pieces))
    with atomic_folder(out / "tokenizer") as folder:
        domain.tokenizer.save(folder)
    manifest = {
        "version": VERSION,
        "domain": domain.kind,
        "fingerprint": domain.tokenizer.fingerprint(),
        "streams": domain.tokenizer.streams,
        "pieces": len(pieces),
        "tokens": sum(piece.tokens for _, piece in pieces),
        **_length([piece for _, piece in pieces], domain.unit),
        "splits": {
            split: _counts([piece for _, piece in pieces if piece.split == split], domain.unit) for split in SPLITS
        },
        "seed": seed,
        "held_out": held_out,
        "sha256": tokens_digest,
        "source": source,
        "rejects": sorted(rejects, key=lambda reject: str(reject["name"])),
        "warnings": sorted(warnings, key=lambda warning: str(warning["name"])),
    }
    write_text(out / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    # The store is complete: a file that cannot be removed does no harm.
    shutil.rmtree(out / "partial", ignore_errors=True)
    return manifest


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot replace {path}: {error.strerror}") from error


def _counts(pieces: list[Piece], unit: Unit) -> dict[str, Any]:
    return {
        "pieces": len(pieces),
        "tokens": sum(piece.tokens for piece in pieces),
        **_length(pieces, unit),
    }


def _length(pieces: list[Piece], unit: Unit) -> dict[str, float]:
    return {unit: sum(getattr(piece, unit) or 0 for piece in pieces)}


def _piece(file: SourceFile, split: str, entry: Entry, unit: Unit) -> Piece:
    piece = Piece(name=file.name, split=split, group=file.group, tokens=entry.tokens, seconds=None)
    if unit == "bytes":
        return replace(piece, bytes=round(entry.length or 0))
    return replace(piece, seconds=entry.length)


def _write_tokens(entries: list[Entry], ids: np.ndarray[Any, Any], out: Path) -> str:
    """Write tokens.npy and offsets.npy; return the SHA-256 of the ids."""
    offsets = np.cumsum([0, *(entry.tokens for entry in entries)], dtype=np.int64)
    digest = hashlib.sha256()
    with atomic_path(out / "tokens.npy") as path, path.open("wb") as file:
        heading = {"descr": np.lib.format.dtype_to_descr(ids.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, {**heading, "shape": (int(offsets[-1]), ids.shape[1])})
        for entry in entries:
            data = ids[entry.start : entry.start + entry.tokens].tobytes()
            digest.update(data)
            file.write(data)
    with atomic_path(out / "offsets.npy") as path, path.open("wb") as file:
        np.save(file, offsets, allow_pickle=False)
    return digest.hexdigest()
