"""Which piece belongs to which split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from muse_shortcut.data.scan import SourceFile
from muse_shortcut.data.store import SPLITS

__all__ = ["assign_splits", "draw_splits", "keep_one_of_each", "split_files"]


def assign_splits(groups: Mapping[str, str | None], seed: int, held_out: float) -> dict[str, str]:
    """A split for every group; a group that has one from its publisher keeps it.

    The others are put in the order of a hash, so that a file added later moves no other far. Validation and test each
    get the fraction `held_out`, at least one group where there are three or more; two groups are train and
    validation, one is train. There is always a train split.

    Args:
        groups: the publisher's split by group, or None.
        seed: another one gives another choice.
        held_out: fraction of the free groups for validation, and again for test.
    """
    free = sorted(
        (group for group, split in groups.items() if split is None),
        key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest(),
    )
    count = max(1, round(len(free) * held_out)) if held_out > 0 else 0
    if any(split is not None for split in groups.values()):
        # The publisher has held out enough; what it does not name is for training.
        count = 0
    # However large the fraction, something is left to learn from.
    count = min(count, max(1, (len(free) - 1) // 2))
    validation = count if len(free) >= 2 else 0
    test = count if len(free) >= 3 else 0
    chosen = {group: split for group, split in groups.items() if split is not None}
    for index, group in enumerate(free):
        chosen[group] = "validation" if index < validation else "test" if index < validation + test else "train"
    return chosen


def split_files(files: Sequence[SourceFile], seed: int, held_out: float) -> list[str]:
    """The split of each file of one source: its publisher's, or that of its group."""
    splits = assign_splits({_group(file): file.split for file in files}, seed, held_out)
    return [splits[_group(file)] for file in files]


def _group(file: SourceFile) -> str:
    # A publisher's split is made by piece, not by folder: only the free ones are grouped.
    # No name holds a zero, so neither is mistaken for the other.
    return file.group if file.split is None else f"{file.split}\0{file.name}"


def draw_splits(
    sources: Sequence[Sequence[tuple[SourceFile, str]]], seed: int, held_out: float
) -> tuple[dict[str, str], dict[str, str]]:
    """The split of each file that stays, by name, and the duplicates that go, each with the name of the one that stays.

    Splits are drawn from what can be used and is there once: no file that goes takes another's place.

    Args:
        sources: the readable files of each source, with a digest of their content.
        seed: of the random splits.
        held_out: fraction for validation, and again for test, of a source that has no split of its own.
    """
    gone = keep_one_of_each((file.name, file.split, digest) for source in sources for file, digest in source)
    splits: dict[str, str] = {}
    for source in sources:
        staying = [file for file, _ in source if file.name not in gone]
        splits |= dict(zip((file.name for file in staying), split_files(staying, seed, held_out), strict=True))
    return splits, gone


def keep_one_of_each(pieces: Iterable[tuple[str, str | None, str]]) -> dict[str, str]:
    """Duplicates by content: (name, split, digest) -> by name of each that must go, the name of the one that stays.

    The one that stays is the publisher's test if any is, else validation, else train, else one that has no split yet:
    what is held out is never seen in training.
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
