"""Makes token stores from files: what `muse-prepare` does, with a tokenizer of any domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from muse_shortcut.data.preparation import Preparation
from muse_shortcut.data.preparation import prepare as prepare_files
from muse_shortcut.data.recipe import GroupBy, Recipe
from muse_shortcut.data.sources import describe_source, find_files
from muse_shortcut.data.store import Store, open_store
from muse_shortcut.data.texts import text_parts
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.base import Tokenizer
from muse_tokenizers.loading import domain_of

__all__ = ["LoadedPrompt", "prepare"]

LoadedPrompt = str | Path | Recipe | tuple[Recipe, str | Path]
"""A folder or file; a recipe, whose files are downloaded; or a recipe and a folder that already has its files."""


def prepare(
    sources: LoadedPrompt | Sequence[LoadedPrompt],
    out: str | Path,
    tokenizer: Tokenizer[Any],
    *,
    group_by: GroupBy | None = None,
    held_out: float = 0.05,
    seed: int = 0,
    workers: int = 0,
    overwrite: bool = False,
    watch: Callable[[int, int, int], None] = lambda _files, _tokens, _rejects: None,
) -> Store:
    """Convert files to a token store to train on.

    Args:
        sources: One source or several.
        out: Folder of the store.
        tokenizer: Encodes each file as (T, K) ids.
        group_by: Unit that a random split must not divide, "file" or "folder"; None follows the recipe, or else uses
            "file".
        held_out: Fraction of the pieces for validation, and again for test, from 0 to 0.4.
        seed: Seed of the random split.
        workers: Number of processes that read files. 0 reads them in this process, which a notebook needs for classes
            that it defines.
        overwrite: Whether to replace a complete store.
        watch: Called after each file with the numbers of files, tokens and rejected files so far.

    Returns:
        The opened store. Its manifest lists the rejected files with the reasons.

    Raises:
        ArgumentsError: A value is out of its range, or a recipe belongs to another domain.
        RecipeError: A source has no files.
        DownloadError: Files could not be downloaded.
        StoreError: No file could be used, or `out` contains something else.
        OutputError: A file could not be written.
    """
    if not 0.0 <= held_out <= 0.4:
        raise ArgumentsError(f"held_out is {held_out}; allowed: 0 to 0.4")
    if workers < 0:
        raise ArgumentsError(f"workers is {workers}; allowed: 0 or more")
    several = sources if isinstance(sources, Sequence) and not isinstance(sources, str | tuple) else [sources]
    named = [_named(source, tokenizer.kind) for source in several]
    domain = domain_of(tokenizer)
    files, unused = find_files(
        named, domain.info.suffixes, group_by, domain=domain.kind, any_ending=domain.info.divisible
    )
    if domain.info.divisible:
        files = [
            text_parts(found, recipe, held_out=held_out, encoding=domain.encoding)
            for found, (recipe, _) in zip(files, named, strict=True)
        ]
    described = [describe_source(recipe, len(found)) for (recipe, _), found in zip(named, files, strict=True)]
    how = Preparation(
        workers=workers,
        seed=seed,
        held_out=held_out,
        source={"sources": described},
        unused=tuple(unused),
        overwrite=overwrite,
    )
    prepare_files(files, domain, Path(out), how, watch)
    return open_store(Path(out))


def _named(source: Any, domain: str) -> tuple[Recipe | None, Path | None]:
    recipe, folder = source if isinstance(source, tuple) else (source, None)
    if not isinstance(recipe, Recipe):
        return None, Path(recipe).expanduser()
    if recipe.domain != domain:
        raise ArgumentsError(f"the recipe {recipe.name} is for {recipe.domain}, the tokenizer for {domain}")
    return recipe, None if folder is None else Path(folder).expanduser()
