"""Files of text as the pieces that a store has of them: large ones in parts, one text alone divided between splits."""

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
    """The texts of one source in the parts that become pieces; one text alone is divided between the splits.

    Args:
        files: of the source.
        recipe: of the source, if it has one.
        held_out: fraction for validation, and again for test.
        encoding: of the files where no mark in them says it; None: found out.
    """
    free = recipe is None or isinstance(recipe.split, RandomSplit)
    files = _without_twins(files, encoding) if free else files
    alone = free and sum(file.reason is None for file in files) == 1
    split_point = partial(held_out_marks, held_out=held_out, encoding=encoding) if alone else None
    return in_parts(files, recipe, partial(spans_of, encoding=encoding), split_point)


def _without_twins(files: list[SourceFile], encoding: str | None) -> list[SourceFile]:
    """The files; what is no text says so, and of several that are all alike all but the first."""
    files = [replace(file, reason=file.reason or _problem(file, encoding)) for file in files]
    readable = [file for file in files if file.reason is None]
    if len({file.size() for file in readable}) != 1 or len({hash_file(file.path) for file in readable}) != 1:
        return files
    reason = f"the same content as {readable[0].name}"
    return [replace(file, reason=reason) if file in readable[1:] else file for file in files]


def _problem(file: SourceFile, encoding: str | None) -> str | None:
    """Why a file is no text, as far as its beginning shows; None where it may be one."""
    try:
        beginning = (0, min(file.size(), LOOKED_AT))
        read_text(file.path, beginning, "lf", encoding=encoding, warn=lambda _: None)
    except UnreadablePieceError as error:
        return str(error).replace(str(file.path), file.name).removeprefix(f"{file.name} ")
    return None
