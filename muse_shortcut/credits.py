"""Whom a model owes its training data to."""

from __future__ import annotations

from typing import Any

from muse_shortcut.cards import ancestors, sources_of

__all__ = ["credits_of"]


def credits_of(facts: dict[str, Any]) -> list[str]:
    """Return one line for each source of the data of a checkpoint and its ancestors: title, licence, and whom to name.

    Args:
        facts: Training metadata of the checkpoint.
    """
    from muse_shortcut.data.recipe import load_recipe, recipe_names

    known = recipe_names()
    lines = []
    for source in [*sources_of(facts), *(one for parent in ancestors(facts) for one in sources_of(parent["facts"]))]:
        title, licence = source.get("title") or "local files", source.get("licence") or "licence not stated"
        credit = source.get("credit")
        if credit is None and source.get("recipe") in known:
            # Stores from before credits were recorded.
            credit = load_recipe(source["recipe"]).licence.credit
        lines.append(f"{title} ({licence})" + (f": {credit}" if credit else ""))
    return list(dict.fromkeys(lines))
