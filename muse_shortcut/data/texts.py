"""Divides text files into the pieces of a store: large files into parts, and a single text between the splits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from muse_shortcut.data.recipe import RandomSplit, Recipe
from muse_shortcut.data.scan import SourceFile, in_parts
from muse_shortcut.files import hash_file
from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.text.cutting import held_out_marks
from muse_tokenizers.text.files import LOOKED_AT, read_text, spans_of

__all__ = ["text_parts"]


def text_parts(
    files: list[SourceFile], recipe: Recipe | None, *, held_out: float, encoding: str | None = None
) -> list[SourceFile]:
    """Divide the texts of one source into pieces; a single text is divided between the splits.

    Args:
        files: Files of the source.
        recipe: Recipe of the source, if it has one.
        held_out: Fraction for validation, and again for test.
        encoding: Encoding of files without a byte order mark; None detects it.
    """
    free = recipe is None or isinstance(recipe.split, RandomSplit)
    files = _without_twins(files, encoding) if free else files
    alone = free and sum(file.reason is None for file in files) == 1
    split_point = partial(held_out_marks, held_out=held_out, encoding=encoding) if alone else None
    return in_parts(files, recipe, partial(spans_of, encoding=encoding), split_point)


def _without_twins(files: list[SourceFile], encoding: str | None) -> list[SourceFile]:
    """Mark files that are not text, and duplicates of an earlier file, as not usable."""
    files = [replace(file, reason=file.reason or _problem(file, encoding)) for file in files]
    readable = [file for file in files if file.reason is None]
    if len({file.size() for file in readable}) != 1 or len({hash_file(file.path) for file in readable}) != 1:
        return files
    reason = f"has the same content as {readable[0].name}"
    return [replace(file, reason=reason) if file in readable[1:] else file for file in files]


def _problem(file: SourceFile, encoding: str | None) -> str | None:
    """Return why a file is not text, as far as its beginning shows; None if it may be text."""
    try:
        beginning = (0, min(file.size(), LOOKED_AT))
        read_text(file.path, beginning, "lf", encoding=encoding, warn=lambda _: None)
    except UnreadablePieceError as error:
        return str(error).replace(str(file.path), file.name).removeprefix(f"{file.name} ")
    return None
