"""Recipes, and folders of files for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from muse_shortcut.data.recipe import (
    Licence,
    Recipe,
    Split,
    TableSplit,
)
from muse_shortcut.data.scan import SourceFile

MIDI = frozenset({".mid", ".midi"})
TABLE = TableSplit(
    file="table.csv", path_column="where", split_column="part", names={"learn": "train", "tune": "validation"}
)


def fields_of_a_recipe() -> dict[str, Any]:
    return {
        "name": "tunes",
        "title": "Some tunes",
        "domain": "midi",
        "url": "https://example.org/tunes.zip",
        "sha256": None,
        "archive": "zip",
        "licence": {"name": "CC0", "url": "https://example.org/cc0", "weights_may_ship": True},
        "include": ["**/*.mid"],
        "split": {"kind": "random", "group_by": "file"},
        "tokenizer": "remi",
    }


def write_recipe(folder: Path, fields: object) -> Path:
    path = folder / "tunes.yaml"
    path.write_text(yaml.safe_dump(fields), "utf-8")
    return path


def make_recipe(split: Split, include: tuple[str, ...] = ("**/*.mid",), exclude: tuple[str, ...] = ()) -> Recipe:
    licence = Licence(name="CC0", url="https://example.org/cc0", weights_may_ship=True)
    return Recipe(
        name="tunes",
        title="Some tunes",
        domain="midi",
        url=None,
        sha256=None,
        archive=None,
        licence=licence,
        include=include,
        exclude=exclude,
        split=split,
        tokenizer="remi",
    )


def fill(root: Path, *names: str, content: str = "MThd") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, "utf-8")
    return root


def by_name(files: list[SourceFile], what: str) -> Mapping[str, object]:
    return {file.name: getattr(file, what) for file in files}
