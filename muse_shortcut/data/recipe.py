"""Recipes, which describe where a data set comes from, its licence, and its splits.

Knows YAML and licences. `muse_shortcut.data.scan` finds the files of a recipe in a folder, and
`muse_shortcut.data.download` downloads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, get_args
from urllib.parse import urlsplit

import yaml

from muse_shortcut.errors import RecipeError

__all__ = [
    "ByteSplit",
    "FileSplit",
    "FolderSplit",
    "GroupBy",
    "Licence",
    "RandomSplit",
    "Recipe",
    "Split",
    "SplitName",
    "TableSplit",
    "load_recipe",
    "recipe_names",
]

Archive: TypeAlias = Literal["zip", "tar.gz", "tar.xz", "tar.bz2"]
SplitName: TypeAlias = Literal["train", "validation", "test"]
GroupBy: TypeAlias = Literal["file", "folder"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _require(valid: bool, field: str, found: object, allowed: str) -> None:
    if not valid:
        raise RecipeError(f"field {field} is {repr(found)[:80]}; allowed: {allowed}")


def _require_text(field: str, found: object) -> None:
    _require(isinstance(found, str) and found.strip() != "", field, found, "some text")


def _require_name(field: str, found: object) -> None:
    valid = isinstance(found, str) and _NAME.fullmatch(found) is not None
    _require(valid, field, found, "a name of small letters, digits, _ and -")


def _require_choice(field: str, found: object, choices: Sequence[str], other: str = "") -> None:
    _require(isinstance(found, str) and found in choices, field, found, ", ".join(choices) + other)


def _require_split_names(field: str, found: object) -> None:
    valid = isinstance(found, Mapping) and found != {} and all(isinstance(word, str) for word in found)
    _require(valid, field, found, "a mapping of the source's words to train, validation and test")
    assert isinstance(found, Mapping)
    for word, split in found.items():
        _require_choice(f"{field}.{word}", split, get_args(SplitName))


def _is_web_address(found: object) -> bool:
    if not isinstance(found, str) or re.search(r"\s", found) or not found.isprintable():
        return False
    try:
        parts = urlsplit(found)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _is_line(found: object) -> bool:
    return isinstance(found, str) and found.strip() != "" and "\n" not in found


def _is_inside(found: object) -> bool:
    """Whether a glob or path stays inside the folder that it is relative to."""
    if not isinstance(found, str) or not found or "\\" in found:
        return False
    absolute = found.startswith("/") or PureWindowsPath(found).drive != ""
    return not absolute and ".." not in PurePosixPath(found).parts


@dataclass(frozen=True, kw_only=True)
class Licence:
    """The licence of a source, and whether weights trained on it may be distributed."""

    name: str
    url: str
    weights_may_ship: bool
    note: str = ""
    credit: str = ""
    """Whom to name with the weights."""

    def __post_init__(self) -> None:
        _require_text("licence.name", self.name)
        _require(_is_web_address(self.url), "licence.url", self.url, "an http or https address")
        shippable = isinstance(self.weights_may_ship, bool)
        _require(shippable, "licence.weights_may_ship", self.weights_may_ship, "true or false")
        for name, text in (("note", self.note), ("credit", self.credit)):
            _require(isinstance(text, str), f"licence.{name}", text, "text")


@dataclass(frozen=True, kw_only=True)
class TableSplit:
    """The official split is a column of a CSV table inside the source.

    `file` may be anywhere below the root, and its paths are relative to its own folder.
    """

    kind: ClassVar[str] = "official table"
    file: str
    path_column: str
    split_column: str
    names: Mapping[str, SplitName]

    def __post_init__(self) -> None:
        _require(_is_inside(self.file), "split.file", self.file, "a path inside the source, with /")
        _require_text("split.path_column", self.path_column)
        _require_text("split.split_column", self.split_column)
        _require_split_names("split.names", self.names)


@dataclass(frozen=True, kw_only=True)
class FolderSplit:
    """The official split is the name of a folder in the path of a file; the innermost such folder decides."""

    kind: ClassVar[str] = "official folders"
    names: Mapping[str, SplitName]

    def __post_init__(self) -> None:
        _require_split_names("split.names", self.names)


@dataclass(frozen=True, kw_only=True)
class FileSplit:
    """The official split has one file per split, identified by its name without folders."""

    kind: ClassVar[str] = "official files"
    names: Mapping[str, SplitName]

    def __post_init__(self) -> None:
        _require_split_names("split.names", self.names)


@dataclass(frozen=True, kw_only=True)
class ByteSplit:
    """The official split divides the bytes of one text file: first training, then validation, then test."""

    kind: ClassVar[str] = "official bytes"
    train: int
    validation: int

    def __post_init__(self) -> None:
        for name in ("train", "validation"):
            found = getattr(self, name)
            _require(type(found) is int and found > 0, f"split.{name}", found, "a whole number above 0")


@dataclass(frozen=True, kw_only=True)
class RandomSplit:
    """The source has no official split; files of one group are never divided between splits.

    With `group_depth`, a group is wider than the folder of a file: the first so many folders, counted from the
    innermost folder that contains every file, so that the result does not depend on which parent folder is given as the
    root. With `group_pattern`, a regular expression, files are grouped by the first capture group of its match in their
    names.
    """

    kind: ClassVar[str] = "random"
    group_by: GroupBy
    group_depth: int | None = None
    group_pattern: str | None = None

    def __post_init__(self) -> None:
        _require_choice("split.group_by", self.group_by, get_args(GroupBy))
        whole = type(self.group_depth) is int and self.group_depth > 0 and self.group_by == "folder"
        allowed = "a whole number above 0, with group_by: folder"
        _require(self.group_depth is None or whole, "split.group_depth", self.group_depth, allowed)
        allowed = "a regular expression with a bracket (), with group_by: file"
        usable = self.group_by == "file" and _has_bracket(self.group_pattern)
        _require(self.group_pattern is None or usable, "split.group_pattern", self.group_pattern, allowed)


def _has_bracket(pattern: object) -> bool:
    try:
        return isinstance(pattern, str) and re.compile(pattern).groups >= 1
    except re.error:
        return False


Split: TypeAlias = TableSplit | FolderSplit | FileSplit | ByteSplit | RandomSplit
_SPLITS: dict[str, type[Split]] = {
    kind.kind: kind for kind in (TableSplit, FolderSplit, FileSplit, ByteSplit, RandomSplit)
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A data set: where it comes from, its licence, which of its files are used, and how they are split.

    Globs are relative and support `*` and `?` (within one name) and `**` (across folders). `url` is None for a source
    that cannot be downloaded and is only read from a folder; with "{number}" in it, it has one file per number, and
    `numbers` selects them. `sha256` is the checksum that the publisher states; if it is None, that of the first
    download is used. `archive` is None if the address is that of the file itself. `between` has the beginnings of the
    two lines of a text between which its content lies. `style` is that of its music, by which a style can be
    requested of a continuation.
    """

    name: str
    title: str
    domain: str
    url: str | None
    sha256: str | None
    archive: Archive | None
    licence: Licence
    include: tuple[str, ...]
    split: Split
    tokenizer: str
    exclude: tuple[str, ...] = ()
    between: tuple[str, ...] | None = None
    numbers: tuple[int, ...] = ()
    style: str = "any"

    def __post_init__(self) -> None:
        _require_name("name", self.name)
        _require_text("title", self.title)
        # Imported here because only recipes need the tokenizers.
        from muse_tokenizers.built_in import domain_info
        from muse_tokenizers.loading import domain_kinds

        _require_choice("domain", self.domain, domain_kinds())
        _require(self.url is None or _is_web_address(self.url), "url", self.url, "an http or https address, or null")
        checksum = isinstance(self.sha256, str) and _SHA256.fullmatch(self.sha256) is not None
        _require(self.sha256 is None or checksum, "sha256", self.sha256, "64 hexadecimal digits (0-9, a-f), or null")
        if self.archive is not None:
            _require_choice("archive", self.archive, get_args(Archive), ", or null")
        if self.url is None:
            _require(self.sha256 is None, "sha256", self.sha256, "null where url is null")
            _require(self.archive is None, "archive", self.archive, "null where url is null")
        elif self.archive is None:
            named = PurePosixPath(urlsplit(self.url).path).name != ""
            _require(named, "url", self.url, "an address that ends in the name of a file, where archive is null")
        for field, globs in (("include", self.include), ("exclude", self.exclude)):
            _require(isinstance(globs, tuple), field, globs, "a list of globs")
            for glob in globs:
                _require(_is_inside(glob), field, glob, "relative globs with / and without ..")
        _require(self.include != (), "include", [], "at least one glob")
        _require_name("tokenizer", self.tokenizer)
        lines = isinstance(self.between, tuple) and len(self.between) == 2 and all(map(_is_line, self.between))
        _require(self.between is None or lines, "between", self.between, "the beginnings of two lines, or null")
        whole = self.between is None and not isinstance(self.split, ByteSplit)
        divisible = whole or domain_info(self.domain).divisible
        _require(divisible, "domain", self.domain, "text, where there is a split by bytes or `between`")
        _require_choice("style", self.style, domain_info(self.domain).styles)


_Part = TypeVar("_Part", bound=Licence | Split | Recipe)


def _build(part: type[_Part], found: Mapping[Any, Any], prefix: str) -> _Part:
    known = [field.name for field in fields(part)]
    for name in found:
        if name not in known:
            raise RecipeError(f"field {prefix}{name} is unknown; allowed: {', '.join(known)}")
    required = [field.name for field in fields(part) if field.default is MISSING]
    for name in required:
        if name not in found:
            raise RecipeError(f"field {prefix}{name} is missing; required: {', '.join(required)}")
    return part(**found)


def _parse(found: object) -> Recipe:
    if not isinstance(found, dict):
        raise RecipeError(f"it is {repr(found)[:80]}; allowed: a mapping of fields")
    known: dict[Any, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    for name in known.keys() & {"licence", "split"}:
        _require(isinstance(known[name], dict), name, known[name], "a mapping of fields")
    if "licence" in known:
        known["licence"] = _build(Licence, known["licence"], "licence.")
    if "split" in known:
        kind = known["split"].get("kind")
        _require_choice("split.kind", kind, tuple(_SPLITS))
        known["split"] = _build(_SPLITS[kind], {k: v for k, v in known["split"].items() if k != "kind"}, "split.")
    return _build(Recipe, known, "")


def _recipe_folder() -> Path:
    """Return the folder of the recipes: inside the package in a wheel, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "data_recipes"
    return installed if installed.is_dir() else package.parent / "data_recipes"


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the project, sorted."""
    return tuple(sorted(path.stem for path in _recipe_folder().glob("*.yaml")))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a recipe of the project by name, or any recipe by the path of its .yaml file.

    Raises:
        RecipeError: There is no such recipe, it cannot be read, or a field is unknown, missing or out of its range.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and path.suffix not in (".yaml", ".yml"):
        if name_or_path not in recipe_names():
            allowed = f"{', '.join(recipe_names())}, or the path of a .yaml file"
            raise RecipeError(f"there is no recipe {name_or_path!r}; allowed: {allowed}")
        path = _recipe_folder() / f"{name_or_path}.yaml"
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # The library's messages have several lines and quote the file.
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark is not None else ""
        raise RecipeError(f"{path} is not YAML{place}: {getattr(error, 'problem', None) or error}") from error
    try:
        return _parse(found)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
