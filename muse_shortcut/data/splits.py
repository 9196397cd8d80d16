"""Assigns pieces to splits, and finds duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from muse_shortcut.data.scan import SourceFile
from muse_shortcut.data.store import SPLITS

__all__ = ["assign_splits", "draw_splits", "keep_one_of_each", "split_files"]


def assign_splits(groups: Mapping[str, str | None], seed: int, held_out: float) -> dict[str, str]:
    """Assign a split to every group; a group with an official split keeps it.

    The other groups are ordered by a hash, so that adding a file changes few assignments. Validation and test each get
    the fraction `held_out`, at least one group if there are three or more; of two groups, one is for training and one
    for validation; a single group is for training. The training split is never empty.

    Args:
        groups: Official split of each group, or None.
        seed: Seed of the random split.
        held_out: Fraction of the groups without an official split for validation, and again for test.
    """
    free = sorted(
        (group for group, split in groups.items() if split is None),
        key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest(),
    )
    count = max(1, round(len(free) * held_out)) if held_out > 0 else 0
    if any(split is not None for split in groups.values()):
        # The official split has held-out pieces; pieces that it does not name are for training.
        count = 0
    # Whatever the fraction, the training split is not empty.
    count = min(count, max(1, (len(free) - 1) // 2))
    validation = count if len(free) >= 2 else 0
    test = count if len(free) >= 3 else 0
    chosen = {group: split for group, split in groups.items() if split is not None}
    for index, group in enumerate(free):
        chosen[group] = "validation" if index < validation else "test" if index < validation + test else "train"
    return chosen


def split_files(files: Sequence[SourceFile], seed: int, held_out: float) -> list[str]:
    """Return the split of each file of one source: the official one, or that of its group."""
    splits = assign_splits({_group(file): file.split for file in files}, seed, held_out)
    return [splits[_group(file)] for file in files]


def _group(file: SourceFile) -> str:
    # An official split is by piece, not by folder: only files without one are grouped. No name contains a null
    # character, so the two kinds of keys cannot collide.
    return file.group if file.split is None else f"{file.split}\0{file.name}"


def draw_splits(
    sources: Sequence[Sequence[tuple[SourceFile, str]]], seed: int, held_out: float
) -> tuple[dict[str, str], dict[str, str]]:
    """Draw the splits of several sources without duplicates.

    Splits are drawn after duplicates are removed, so that no duplicate takes the place of another file.

    Args:
        sources: Readable files of each source, with a digest of their content.
        seed: Seed of the random splits.
        held_out: Fraction for validation, and again for test, of a source without an official split.

    Returns:
        The split of each file that is kept, by name; and the duplicates, each with the name of the file that is kept.
    """
    gone = keep_one_of_each((file.name, file.split, digest) for source in sources for file, digest in source)
    splits: dict[str, str] = {}
    for source in sources:
        staying = [file for file, _ in source if file.name not in gone]
        splits |= dict(zip((file.name for file in staying), split_files(staying, seed, held_out), strict=True))
    return splits, gone


def keep_one_of_each(pieces: Iterable[tuple[str, str | None, str]]) -> dict[str, str]:
    """Find duplicates by content: (name, split, digest) -> {name of each duplicate to drop: name of the one that is
    kept}.

    The kept one is the one in the official test split, else validation, else training, else one without a split, so
    that held-out content is never trained on.
    """
    strictness: dict[str | None, int] = {split: rank for rank, split in enumerate((*reversed(SPLITS), None))}
    stays: dict[str, str] = {}
    gone: dict[str, str] = {}
    for name, _, digest in sorted(pieces, key=lambda piece: (strictness[piece[1]], piece[0])):
        if digest in stays:
            gone[name] = stays[digest]
        else:
            stays[digest] = name
    return gone
