"""Finds the files of sources: folders, files, and recipes, which are downloaded if they have no folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from muse_shortcut.data import download
from muse_shortcut.data.recipe import GroupBy, Recipe
from muse_shortcut.data.scan import SourceFile, label, labelled, scan_files
from muse_shortcut.errors import ArgumentsError

__all__ = ["NUMBER", "describe_source", "fetch_recipe", "find_files"]

NUMBER = "{number}"
"""Placeholder in the address of a recipe with one address per file."""


def find_files(
    named: Sequence[tuple[Recipe | None, Path | None]],
    suffixes: frozenset[str],
    group_by: GroupBy | None,
    *,
    domain: str | None = None,
    any_ending: bool = False,
    fetch: Callable[[Recipe], list[Path]] | None = None,
) -> tuple[list[list[SourceFile]], list[tuple[str, str]]]:
    """Find the files of each source, and download them if necessary. With several sources, names begin with the name of
    their source.

    Args:
        named: Recipes and folders.
        suffixes: Suffixes of the files to use.
        group_by: Which files must stay in one split.
        domain: Files whose content is of this domain are used too, whatever their suffix.
        any_ending: Whether a file that is itself a source may have any suffix.
        fetch: Returns the folders or files of a recipe without a folder; None for `fetch_recipe`.

    Returns:
        The files of each source; and the name of every file that is not used, with the reason.

    Raises:
        RecipeError: There are no files.
    """
    sources: list[list[SourceFile]] = []
    unused: list[tuple[str, str]] = []
    for number, (recipe, folder) in enumerate(named):
        files: list[SourceFile] = []
        left_out: list[tuple[str, str]] = []

        def leave_out(name: str, reason: str, names: list[tuple[str, str]] = left_out) -> None:
            names.append((name, reason))

        for place in [folder] if folder else (fetch or fetch_recipe)(_recipe_of(recipe)):
            own = {place.suffix.lower()} if any_ending and place.is_file() else set[str]()
            files += scan_files(place, recipe, suffixes | own, group_by, leave_out, domain=domain)
        if len(named) > 1:
            name = _source_name(recipe, folder)
            files = labelled(files, name, number + 1)
            left_out = [(f"{label(name, number + 1)}/{file}", reason) for file, reason in left_out]
        sources.append(files)
        unused += left_out
    return sources, unused


def _source_name(recipe: Recipe | None, folder: Path | None) -> str:
    if recipe is not None:
        return recipe.name
    assert folder is not None
    return re.sub(r"[^a-z0-9_]+", "_", folder.absolute().stem.lower()).strip("_") or "folder"


def _recipe_of(recipe: Recipe | None) -> Recipe:
    assert recipe is not None
    return recipe


def describe_source(recipe: Recipe | None, files: int) -> dict[str, Any]:
    """Describe a source with `files` files for the manifest of a store; a folder has no recipe."""
    if recipe is None:
        return {"recipe": None, "files": files}
    return {
        "recipe": recipe.name,
        "title": recipe.title,
        "files": files,
        "licence": recipe.licence.name,
        "weights_may_ship": recipe.licence.weights_may_ship,
        "credit": recipe.licence.credit,
    }


def fetch_recipe(recipe: Recipe, watch: Callable[[int, int | None], None] = lambda _done, _total: None) -> list[Path]:
    """Return the folders or files of a recipe, downloaded if they are not in the cache.

    Args:
        recipe: A recipe with an address.
        watch: Called with the number of bytes so far, and the total.

    Raises:
        ArgumentsError: The recipe's files have numbers, and none is selected.
        DownloadError: The files could not be downloaded.
    """
    wanted = [recipe]
    if recipe.url is not None and NUMBER in recipe.url:
        if not recipe.numbers:
            raise ArgumentsError(
                f"the recipe {recipe.name} needs numbers ({recipe.name}:84,1342) or a folder ({recipe.name}=FOLDER)"
            )
        wanted = [
            replace(recipe, name=f"{recipe.name}-{number}", url=recipe.url.replace(NUMBER, str(number)))
            for number in recipe.numbers
        ]
    return [download.fetch(one, download.cache_folder(), watch) for one in wanted]
