"""Resolves the SOURCE arguments of commands: folders, files, and recipes with or without their folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from muse_shortcut.commands.command_line import Terminal
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.suggesting import did_you_mean
from muse_tokenizers.wording import about, counted

if TYPE_CHECKING:
    from muse_shortcut.data.recipe import Recipe

__all__ = ["GROUP_HELP", "SOURCE_HELP", "count_reasons", "fetch_under_bars", "is_recipe", "name_source", "of_domain"]

SOURCE_HELP = (
    "A SOURCE is a folder, a file, the name of a recipe (see data_recipes/) or your own recipe.yaml, or RECIPE=FOLDER "
    "for a recipe whose files you have already."
)

GROUP_HELP = "keep all of a file, or all of a folder, in one split"


def name_source(word: str, domain: str) -> tuple[Recipe | None, Path | None]:
    """Resolve a SOURCE to a recipe and its folder, either of which may be None.

    Raises:
        ArgumentsError: It names nothing, or a recipe of another domain.
    """
    from muse_shortcut.data.recipe import load_recipe, recipe_names

    name, colon, numbers = word.partition(":")
    if colon and name in recipe_names() and not Path(word).exists():
        return _numbered(of_domain(load_recipe(name), domain), numbers), None
    name, equals, folder = word.partition("=")
    if equals and (name in recipe_names() or (is_recipe(name) and Path(name).is_file())) and not Path(word).exists():
        return of_domain(load_recipe(name), domain), Path(folder).expanduser()
    if is_recipe(word) and not Path(word).is_dir():
        return of_domain(load_recipe(word), domain), None
    if not Path(word).expanduser().exists():
        raise ArgumentsError(
            f"there is no source {word!r}: it is neither a file nor a folder, nor one of the recipes "
            f"{', '.join(recipe_names())}{did_you_mean(name.partition(':')[0], recipe_names())}"
        )
    return None, Path(word).expanduser()


def is_recipe(word: str) -> bool:
    """Whether a SOURCE names a recipe, by name or by file."""
    from muse_shortcut.data.recipe import recipe_names

    return word in recipe_names() or word.endswith((".yaml", ".yml"))


def of_domain(recipe: Recipe, domain: str) -> Recipe:
    """Return the recipe. Raises ArgumentsError if it belongs to another domain."""
    if recipe.domain != domain:
        raise ArgumentsError(f"the recipe {recipe.name} is for {recipe.domain}, not for {domain}")
    return recipe


def count_reasons(found: Iterable[tuple[str, str]], most: int = 8) -> list[str]:
    """Group messages about files for a terminal: the number of files, the message, and the first file of each kind.

    Args:
        found: Names of files with the message about each.
        most: Largest number of lines; a last one has the number of further kinds.
    """
    kinds: dict[str, list[tuple[str, str]]] = {}
    for name, words in found:
        # Messages that differ only in numbers and quoted passages are of one kind.
        kinds.setdefault(re.sub(r"\d[\d,.]*|'[^']*'|(?<=the same content as ).*", "#", words), []).append((name, words))
    ranked = sorted(kinds.values(), key=len, reverse=True)
    lines = [
        f"{len(ones):>6,}  {about(*ones[0])}{f'; likewise {others}' if len(ones) > 1 else ''}"
        for ones in ranked[:most]
        for others in [counted(len(ones) - 1, "other file")]
    ]
    if len(ranked) > most:
        lines.append(f"{sum(map(len, ranked[most:])):>6,}  for {counted(len(ranked) - most, 'other reason')}")
    return lines


def _numbered(recipe: Recipe, numbers: str) -> Recipe:
    """Select numbered files of a recipe."""
    from muse_shortcut.data.sources import NUMBER

    words = [word.strip() for word in numbers.split(",")]
    if recipe.url is None or NUMBER not in recipe.url:
        raise ArgumentsError(f"the recipe {recipe.name} has no numbered files; write {recipe.name} without numbers")
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise ArgumentsError(f"{recipe.name}:{numbers} does not list numbers; write them as {recipe.name}:84,1342")
    return replace(recipe, numbers=tuple(dict.fromkeys(int(word) for word in words)))


def fetch_under_bars(terminal: Terminal) -> Callable[[Recipe], list[Path]]:
    """Return `fetch_recipe` with a progress bar."""
    from muse_shortcut.data.sources import fetch_recipe

    def fetch(recipe: Recipe) -> list[Path]:
        with terminal.progress(f"downloading {recipe.name}", None) as bar:

            def show(done: int, total: int | None) -> None:
                bar.show(done / 2**20, f"of {total / 2**20:.0f} MiB" if total else "MiB")

            return fetch_recipe(recipe, show)

    return fetch
