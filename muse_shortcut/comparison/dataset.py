"""The token ids on which cores are compared, from a token store or a packed copy of one.

    PACK/  train.npz  validation.npz  test.npz    ids (N, K), compressed
           variations.npz  ids.json               augmentation, and what else is known of the ids

A pack is small and needs only numpy to open, none of the tokenizers' libraries.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.errors import StoreError
from muse_shortcut.files import atomic_folder, write_text
from muse_tokenizers.base import Variations

__all__ = ["Dataset", "VocabularyInfo", "digest_of", "open_dataset", "write_pack"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class VocabularyInfo:
    """The vocabulary as training needs it; the tokenizer itself is carried along as files."""

    kind: str
    """Kind of the domain."""
    vocabulary_size: int
    streams: int
    pad: int
    end: int
    folder: Path | None
    """Files of the tokenizer; None if they were left out."""

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files into a checkpoint."""
        if self.folder is not None:
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Token ids for training and evaluation."""

    digest: str
    """Digest of the store that the ids come from."""
    vocabulary: VocabularyInfo
    splits: dict[str, NDArray[Any]]
    """Ids of each split, (N, K)."""
    variations: Variations


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} is missing or damaged") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} is damaged: it is not a JSON object")
    return content


def digest_of(folder: Path) -> str:
    """Read the digest of a store or a pack without loading the rest.

    Raises:
        StoreError: The folder is neither.
    """
    if (folder / "ids.json").is_file():
        return str(_read_json(folder / "ids.json").get("digest"))
    if (folder / "manifest.json").is_file():
        return str(_read_json(folder / "manifest.json").get("sha256"))
    raise StoreError(f"{folder} is not a token store; create one with muse-prepare")


def open_dataset(folder: Path) -> Dataset:
    """Open a store or a pack.

    Raises:
        StoreError: The folder is neither, or is damaged.
    """
    return _open_pack(folder) if (folder / "ids.json").is_file() else _open_store(folder)


def _open_store(folder: Path) -> Dataset:
    from muse_shortcut.data.store import open_store
    from muse_tokenizers.loading import domain_of, load_tokenizer

    store = open_store(folder)
    tokenizer = load_tokenizer(store.tokenizer_folder)
    store.check_tokenizer(tokenizer, str(store.tokenizer_folder))
    return Dataset(
        digest=str(store.manifest["sha256"]),
        vocabulary=VocabularyInfo(
            kind=tokenizer.kind,
            vocabulary_size=tokenizer.vocabulary_size,
            streams=tokenizer.streams,
            pad=tokenizer.pad,
            end=tokenizer.end,
            folder=store.tokenizer_folder,
        ),
        splits={split: store.split(split) for split in SPLITS},
        variations=domain_of(tokenizer).variations(),
    )


def write_pack(material: Dataset, out: Path, *, tokens: int) -> None:
    """Copy a store for machines without the tokenizers: the first `tokens` steps of the training split, and an eighth
    as many of each other split.

    Raises:
        OutputError: The copy could not be written.
    """
    most = {"train": tokens}
    with atomic_folder(out) as temporary:
        for split, ids in material.splits.items():
            np.savez_compressed(temporary / f"{split}.npz", ids=ids[: most.get(split, max(1, tokens // 8))])
        variations = material.variations
        np.savez_compressed(temporary / "variations.npz", maps=variations.maps, valid=variations.valid)
        vocabulary = material.vocabulary
        known = {name: getattr(vocabulary, name) for name in ("kind", "vocabulary_size", "streams", "pad", "end")}
        write_text(temporary / "ids.json", json.dumps({"digest": f"{material.digest} {tokens}"} | known) + "\n")


def _open_pack(folder: Path) -> Dataset:
    known = _read_json(folder / "ids.json")
    try:
        splits = {}
        for split in SPLITS:
            with np.load(folder / f"{split}.npz", allow_pickle=False) as file:
                splits[split] = file["ids"]
        with np.load(folder / "variations.npz", allow_pickle=False) as file:
            variations = Variations(maps=file["maps"], valid=file["valid"])
        kind = str(known["kind"])
        sizes = {name: int(known[name]) for name in ("vocabulary_size", "streams", "pad", "end")}
    except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"the pack {folder} is damaged") from error
    return Dataset(
        digest=str(known["digest"]),
        vocabulary=VocabularyInfo(kind=kind, **sizes, folder=None),
        splits=splits,
        variations=variations,
    )
