"""Recipes, which say where music comes from and how it is split, and the survey of a folder into its source files.

Knows YAML, licences, globs and the tables in which a source keeps its official split; it reads no music, downloads
nothing (`muse_shortcut.data.download` does) and draws no random split: it only says which files must stay together.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, get_args
from urllib.parse import urlsplit

import yaml

from muse_shortcut.errors import RecipeError

__all__ = [
    "FolderSplit",
    "GroupBy",
    "Licence",
    "RandomSplit",
    "Recipe",
    "SourceFile",
    "Split",
    "SplitName",
    "TableSplit",
    "load_recipe",
    "recipe_names",
    "survey",
]

Domain: TypeAlias = Literal["midi", "audio", "text"]
Archive: TypeAlias = Literal["zip", "tar.gz", "tar.xz"]
SplitName: TypeAlias = Literal["train", "validation", "test"]
GroupBy: TypeAlias = Literal["file", "folder"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GLOB_WORDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _require(valid: bool, field: str, found: object, allowed: str) -> None:
    if not valid:
        raise RecipeError(f"field {field}: found {repr(found)[:80]}, allowed: {allowed}")


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


def _is_inside(found: object) -> bool:
    """Whether a glob or a path stays in the folder that it is applied to."""
    if not isinstance(found, str) or not found or "\\" in found:
        return False
    absolute = found.startswith("/") or PureWindowsPath(found).drive != ""
    return not absolute and ".." not in PurePosixPath(found).parts


@dataclass(frozen=True, kw_only=True)
class Licence:
    """The terms a source is given under, and whether weights trained on it may be given away."""

    name: str
    url: str
    weights_may_ship: bool
    note: str = ""

    def __post_init__(self) -> None:
        _require_text("licence.name", self.name)
        _require(_is_web_address(self.url), "licence.url", self.url, "an http or https address")
        shippable = isinstance(self.weights_may_ship, bool)
        _require(shippable, "licence.weights_may_ship", self.weights_may_ship, "true or false")
        _require(isinstance(self.note, str), "licence.note", self.note, "text")


@dataclass(frozen=True, kw_only=True)
class TableSplit:
    """The official split is a column of a table with commas that the source holds.

    `file` may lie anywhere below the root, and its paths count from the folder it lies in.
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
    """The official split is the name of a folder in a file's path; the innermost such folder decides."""

    kind: ClassVar[str] = "official folders"
    names: Mapping[str, SplitName]

    def __post_init__(self) -> None:
        _require_split_names("split.names", self.names)


@dataclass(frozen=True, kw_only=True)
class RandomSplit:
    """The source has no official split; files of one group must never be divided between splits.

    With `group_depth` a group is wider than a file's own folder: the first so many folders, counted from the
    innermost one that holds every file, so that a root given too high or too low changes nothing.
    """

    kind: ClassVar[str] = "random"
    group_by: GroupBy
    group_depth: int | None = None

    def __post_init__(self) -> None:
        _require_choice("split.group_by", self.group_by, get_args(GroupBy))
        whole = type(self.group_depth) is int and self.group_depth > 0 and self.group_by == "folder"
        allowed = "a whole number above 0, with group_by: folder"
        _require(self.group_depth is None or whole, "split.group_depth", self.group_depth, allowed)


Split: TypeAlias = TableSplit | FolderSplit | RandomSplit
_SPLITS: dict[str, type[Split]] = {kind.kind: kind for kind in (TableSplit, FolderSplit, RandomSplit)}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Where one source comes from, under which terms, which of its files count, and how they are split.

    Globs are relative and know `*` and `?` (inside one name) and `**` (across folders). `url` is None for a source
    that nobody serves: it is only read from a folder. `sha256` is one that the publisher states, or None, and then
    the first one met is held to. `archive` is None where the address gives the file itself.
    """

    name: str
    title: str
    domain: Domain
    url: str | None
    sha256: str | None
    archive: Archive | None
    licence: Licence
    include: tuple[str, ...]
    split: Split
    tokenizer: str
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_name("name", self.name)
        _require_text("title", self.title)
        _require_choice("domain", self.domain, get_args(Domain))
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


_Part = TypeVar("_Part", bound=Licence | Split | Recipe)


def _build(part: type[_Part], found: Mapping[Any, Any], prefix: str) -> _Part:
    known = [field.name for field in fields(part)]
    for name in found:
        if name not in known:
            raise RecipeError(f"field {prefix}{name}: is unknown, allowed: {', '.join(known)}")
    required = [field.name for field in fields(part) if field.default is MISSING]
    for name in required:
        if name not in found:
            raise RecipeError(f"field {prefix}{name}: is missing, required: {', '.join(required)}")
    return part(**found)


def _parse(found: object) -> Recipe:
    if not isinstance(found, dict):
        raise RecipeError(f"found {repr(found)[:80]}, allowed: a mapping of fields")
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
    """The wheel carries the recipes inside the package; a checkout keeps them beside it."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "data_recipes"
    return installed if installed.is_dir() else package.parent / "data_recipes"


def recipe_names() -> tuple[str, ...]:
    """The names of the recipes that come with the project, in order."""
    return tuple(sorted(path.stem for path in _recipe_folder().glob("*.yaml")))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe that comes with the project, by its name, or anybody's, by the path of its .yaml file.

    Raises:
        RecipeError: there is no such recipe, or it cannot be read, or a field is unknown, missing or impossible.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and path.suffix not in (".yaml", ".yml"):
        if name_or_path not in recipe_names():
            allowed = f"{', '.join(recipe_names())}, or the path of a .yaml file"
            raise RecipeError(f"found no recipe {name_or_path!r}, allowed: {allowed}")
        path = _recipe_folder() / f"{name_or_path}.yaml"
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # The library's messages run over several lines and quote the file.
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark is not None else ""
        raise RecipeError(f"{path}: is not YAML{place}: {getattr(error, 'problem', None) or error}") from error
    try:
        return _parse(found)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file to read.

    `name` is its path below the root with /, `split` what the source itself says (None: it says nothing), and files
    with the same `group` must come into the same split where one is drawn.
    """

    path: Path
    name: str
    split: SplitName | None
    group: str


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Every plain file below the root, as (name with /, path).

    Links are not followed: one that stays in the folder would give the same file twice, perhaps to two splits, and
    one that leaves it gives what is not in the folder.
    """

    def refuse(error: OSError) -> None:
        raise RecipeError(f"cannot read the folder {error.filename}: {error.strerror or error}") from error

    for parent, _, names in os.walk(root, onerror=refuse):
        for path in (Path(parent, name) for name in names):
            if path.is_file() and not path.is_symlink():
                # A name need not be UTF-8 on the disk, but it must be where it is written down.
                yield os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace"), path


def _glob_matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    """`**/a*.mid` -> a test of names; `fnmatch` would let * cross folders."""
    split = [re.split(r"(\*\*/|\*\*|\*|\?)", glob) for glob in globs]
    either = "|".join("".join(_GLOB_WORDS.get(word, re.escape(word)) for word in words) for words in split)
    pattern = re.compile(either, re.DOTALL)
    return lambda name: bool(globs) and pattern.fullmatch(name) is not None


def _read_table(root: Path, recipe: Recipe, table: TableSplit, files: Mapping[str, Path]) -> dict[str, SplitName]:
    """The table's rows as {name of a file below the root: split}."""
    tables = [name for name in files if f"/{name}".endswith(f"/{table.file}")]
    if not tables:
        raise RecipeError(f"recipe {recipe.name}: found no {table.file} in {root}, which gives the official split")
    found = min(tables, key=lambda name: (name.count("/"), name))
    base = PurePosixPath(found).parents[table.file.count("/")]
    splits: dict[str, SplitName] = {}
    try:
        with files[found].open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            for column in (table.path_column, table.split_column):
                if column not in (rows.fieldnames or ()):
                    columns = ", ".join(rows.fieldnames or ()) or "none"
                    raise RecipeError(f"{files[found]}: has no column {column!r}, found: {columns}")
            for row in rows:
                where = f"{files[found]}: line {rows.line_num}"
                word = row[table.split_column]
                if word not in table.names:
                    allowed = ", ".join(table.names)
                    raise RecipeError(f"{where}: {table.split_column} is {word!r}, allowed: {allowed}")
                name = (base / (row[table.path_column] or "")).as_posix()
                if splits.setdefault(name, table.names[word]) != table.names[word]:
                    raise RecipeError(f"{where}: {name} is in {table.names[word]}, and above in {splits[name]}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"{files[found]}: cannot be read as a table: {error}") from error
    return splits


def _folder_groups(names: Sequence[str], depth: int | None) -> dict[str, str]:
    parents = {name: PurePosixPath(name).parent for name in names}
    if depth is None:
        return {name: parent.as_posix() for name, parent in parents.items()}
    kept = len(PurePosixPath(os.path.commonpath(parents.values())).parts) + depth
    return {name: PurePosixPath(*parent.parts[:kept]).as_posix() for name, parent in parents.items()}


def survey(
    root: Path, recipe: Recipe | None, suffixes: frozenset[str], group_by: GroupBy | None = None
) -> list[SourceFile]:
    """The files of a folder, or of a single file, that count, sorted by name.

    Args:
        root: a folder, which may lie above or inside the one that the recipe's archive unpacks to, or one file.
        recipe: its globs and its official split are applied; without one every file with a suffix counts.
        suffixes: endings with their dot, in small letters; a file's own may be in capitals.
        group_by: which files must stay together in a random split; None takes the recipe's word, else 'file'.

    Raises:
        RecipeError: nothing is found, a folder cannot be read, or the recipe's table is missing or wrong.
    """
    if not root.exists():
        raise RecipeError(f"found no file or folder {root}")
    root = root.absolute()
    files = dict(_walk(root)) if root.is_dir() else {root.name: root}
    names = sorted(name for name, path in files.items() if path.suffix.lower() in suffixes)
    wanted = f"with the ending {' or '.join(sorted(suffixes))}"
    if recipe is not None:
        included, excluded = _glob_matcher(recipe.include), _glob_matcher(recipe.exclude)
        names = [name for name in names if included(name) and not excluded(name)]
        wanted += f" that recipe {recipe.name} takes: {', '.join(recipe.include)}"
        wanted += f" without {', '.join(recipe.exclude)}" if recipe.exclude else ""
    if not names:
        raise RecipeError(f"{root}: found no file {wanted} (looked at {len(files)} files; links are not followed)")

    split = recipe.split if recipe is not None else None
    splits: dict[str, SplitName] = {}
    if recipe is not None and isinstance(split, TableSplit):
        splits = _read_table(root, recipe, split, files)
    elif isinstance(split, FolderSplit):
        for name in names:
            for folder in PurePosixPath(name).parts[:-1]:
                if folder in split.names:
                    splits[name] = split.names[folder]
    rule = split if isinstance(split, RandomSplit) else RandomSplit(group_by="file")
    groups = {name: name for name in names}
    if (group_by or rule.group_by) == "folder":
        groups = _folder_groups(names, rule.group_depth)
    return [SourceFile(path=files[name], name=name, split=splits.get(name), group=groups[name]) for name in names]
