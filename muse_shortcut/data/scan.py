"""Finds the files of a source: which ones a recipe uses, their official splits, and which must stay together.

Knows globs and tables of official splits; draws no random split.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from muse_shortcut.data.recipe import (
    ByteSplit,
    FileSplit,
    FolderSplit,
    GroupBy,
    RandomSplit,
    Recipe,
    SplitName,
    TableSplit,
)
from muse_shortcut.errors import RecipeError
from muse_tokenizers.built_in import domain_info
from muse_tokenizers.contents import describe_foreign, is_misnamed
from muse_tokenizers.wording import counted

__all__ = ["LeftOut", "SourceFile", "in_parts", "label", "labelled", "name_matcher", "scan_files", "source_of"]

LeftOut = Callable[[str, str], None]
"""Called with the name of a file that is not used, and the reason."""

_GLOB_WORDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file to read.

    `name` is its path relative to the root, with slashes. `split` is its official split (None if there is none). Files
    with the same `group` are put into the same split when one is drawn.
    """

    path: Path
    name: str
    split: SplitName | None
    group: str
    part: tuple[int, int] | None = None
    """Byte range (first, end), if it is not the whole file."""
    reason: str | None = None
    """Why it cannot be used, if that is known before it is read."""
    style: str = "any"
    """Style of the music, see `Recipe`."""

    def size(self) -> int:
        """Size in bytes; 0 if it is not known."""
        if self.part is not None:
            return self.part[1] - self.part[0]
        with suppress(OSError):
            return self.path.stat().st_size
        return 0


def _walk(root: Path, left_out: LeftOut) -> Iterator[tuple[str, Path]]:
    """Yield every regular file below the root as (name with slashes, path).

    Links are not followed, but reported: one inside the folder would add the same file twice, perhaps to two splits,
    and one that leaves it adds files from outside.
    """

    def refuse(error: OSError) -> None:
        raise RecipeError(f"cannot read the folder {error.filename}: {error.strerror or error}") from error

    for parent, folders, names in os.walk(root, onerror=refuse):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for path in (Path(parent, name) for name in [*names, *links]):
            # A name need not be valid UTF-8 on the disk, but it must be in a manifest.
            name = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
            if path.is_symlink():
                left_out(name, "is a link, and links are not followed")
            elif path.is_file():
                yield name, path


def labelled(files: Sequence[SourceFile], source: str, number: int) -> list[SourceFile]:
    """Prefix the names and groups of the files of one of several sources, with "mutopia-1/" for example."""
    before = label(source, number)
    return [replace(file, name=f"{before}/{file.name}", group=f"{before}/{file.group}") for file in files]


def label(source: str, number: int) -> str:
    """Return the prefix of the names of one of several sources."""
    return f"{source}-{number}"


def source_of(name: str) -> str:
    """Return the source of a name that `labelled` has prefixed."""
    return name.partition("/")[0].rpartition("-")[0]


def name_matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    """Return a predicate on names for globs such as `**/a*.mid`; in `fnmatch`, * would cross folders."""
    split = [re.split(r"(\*\*/|\*\*|\*|\?)", glob) for glob in globs]
    either = "|".join("".join(_GLOB_WORDS.get(word, re.escape(word)) for word in words) for words in split)
    pattern = re.compile(either, re.DOTALL)
    return lambda name: bool(globs) and pattern.fullmatch(name) is not None


def _read_table(root: Path, recipe: Recipe, table: TableSplit, files: Mapping[str, Path]) -> dict[str, SplitName]:
    """Read a table as {name of a file below the root: split}."""
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
                    raise RecipeError(f"{files[found]} has no column {column!r}; its columns: {columns}")
            for row in rows:
                where = f"{files[found]}: line {rows.line_num}"
                word = row[table.split_column]
                if word not in table.names:
                    allowed = ", ".join(table.names)
                    raise RecipeError(f"{where}: {table.split_column} is {word!r}; allowed: {allowed}")
                name = (base / (row[table.path_column] or "")).as_posix()
                if splits.setdefault(name, table.names[word]) != table.names[word]:
                    raise RecipeError(f"{where}: {name} is in {table.names[word]}, and above in {splits[name]}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"{files[found]} cannot be read as a table: {reason}") from error
    return splits


def _folder_groups(names: Sequence[str], depth: int | None) -> dict[str, str]:
    parents = {name: PurePosixPath(name).parent for name in names}
    if depth is None:
        return {name: parent.as_posix() for name, parent in parents.items()}
    kept = len(PurePosixPath(os.path.commonpath(parents.values())).parts) + depth
    return {name: PurePosixPath(*parent.parts[:kept]).as_posix() for name, parent in parents.items()}


def _pattern_group(name: str, pattern: str | None) -> str:
    found = re.search(pattern, name) if pattern is not None else None
    return name if found is None else found[1] or name


def scan_files(
    root: Path,
    recipe: Recipe | None,
    suffixes: frozenset[str],
    group_by: GroupBy | None = None,
    left_out: LeftOut = lambda _name, _reason: None,
    *,
    domain: str | None = None,
) -> list[SourceFile]:
    """Find the files of a folder, or a single file, sorted by name.

    Args:
        root: A folder, which may be a parent or a subfolder of the one that the recipe's archive unpacks to, or one
            file.
        recipe: Recipe whose globs and official split are applied; None uses every file with one of the suffixes.
        suffixes: Suffixes with their dot in lower case; those of files may be in capitals.
        group_by: Which files must stay together in a random split; None follows the recipe, or else uses 'file'.
        left_out: Called for every other file, sorted by name, with the reason.
        domain: Without a recipe, files whose content is of this domain are used too, whatever their suffix.

    Raises:
        RecipeError: There are no files, a folder cannot be read, or the table of the recipe is missing or invalid.
    """
    if not root.exists():
        raise RecipeError(f"there is no file or folder {root}")
    root = root.absolute()
    unused: dict[str, str] = {}
    files = dict(_walk(root, unused.__setitem__)) if root.is_dir() else {root.name: root}
    # Texts may have any suffix; the recipe selects them.
    any_ending = recipe is not None and domain_info(recipe.domain).divisible

    def counts(path: Path) -> bool:
        by_content = recipe is None and domain is not None
        return any_ending or path.suffix.lower() in suffixes or (by_content and is_misnamed(path, str(domain)))

    names = sorted(name for name, path in files.items() if counts(path))
    foreign: dict[str, str] = {}
    for name in files.keys() - set(names):
        ending, what = files[name].suffix.lower(), describe_foreign(files[name])
        if what is not None:
            foreign[name] = what
        unused[name] = what or (
            f"{f'ends in {ending}' if ending else 'has no ending'}; allowed: {', '.join(sorted(suffixes))}"
        )
    wanted = f"with the ending {' or '.join(sorted(suffixes))}"
    if recipe is not None:
        included, excluded = name_matcher(recipe.include), name_matcher(recipe.exclude)
        unused |= dict.fromkeys(names, f"is not included by the recipe {recipe.name}")
        names = [name for name in names if included(name) and not excluded(name)]
        wanted += f" that the recipe {recipe.name} includes: {', '.join(recipe.include)}"
        wanted += f" without {', '.join(recipe.exclude)}" if recipe.exclude else ""
    if not names:
        if recipe is None and not root.is_dir():
            raise RecipeError(f"{root} {unused[root.name]}")
        first = next((f"; {name} {foreign[name]}" for name in sorted(foreign)), "")
        raise RecipeError(
            f"{root}: there is no file {wanted}, among {counted(len(files), 'file')} (links are not followed){first}"
        )

    for name in sorted(unused.keys() - set(names)):
        left_out(name, unused[name])
    split = recipe.split if recipe is not None else None
    splits: dict[str, SplitName] = {}
    if recipe is not None and isinstance(split, TableSplit):
        splits = _read_table(root, recipe, split, files)
    elif isinstance(split, FolderSplit):
        for name in names:
            for folder in PurePosixPath(name).parts[:-1]:
                if folder in split.names:
                    splits[name] = split.names[folder]
    elif isinstance(split, FileSplit):
        splits = {
            name: split.names[name.rpartition("/")[2]] for name in names if name.rpartition("/")[2] in split.names
        }
    rule = split if isinstance(split, RandomSplit) else RandomSplit(group_by="file")
    groups = {name: _pattern_group(name, rule.group_pattern) for name in names}
    if (group_by or rule.group_by) == "folder":
        groups = _folder_groups(names, rule.group_depth)
    style = recipe.style if recipe is not None else "any"
    return [
        SourceFile(path=files[name], name=name, split=splits.get(name), group=groups[name], style=style)
        for name in names
    ]


Spans = Callable[[Path, tuple[int, ...]], "list[tuple[int, int]]"]
"""Returns the parts of a text file; a part also ends at each of the given byte offsets."""


Divide = Callable[[Path, int, int], "tuple[int, int] | None"]
"""Returns the byte offsets at which validation and test begin in a text file whose content has this byte range; None if
it is too short."""


def in_parts(
    files: Sequence[SourceFile], recipe: Recipe | None, spans_of: Spans, divide: Divide | None = None
) -> list[SourceFile]:
    """Divide files that become several pieces into parts NAME#1, NAME#2, ...

    Args:
        files: Files of one source.
        recipe: Recipe of the source, which may define splits by bytes and the lines around the content.
        spans_of: Returns the parts of a file.
        divide: For a source that is a single file without an official split: returns where to divide it between the
            splits.

    A file that cannot be read, or lacks the lines that the recipe names, has this in its `reason`.
    """
    split = recipe.split if recipe is not None else None
    found = []
    for file in files:
        marks: tuple[int, ...] = ()
        if isinstance(split, ByteSplit):
            marks = (split.train, split.train + split.validation)
        try:
            size = file.path.stat().st_size
            first, last = _between(file.path, recipe) if recipe is not None and recipe.between else (0, size)
            if divide is not None and file.reason is None:
                marks = divide(file.path, first, last) or ()
            spans = spans_of(file.path, (*marks, first, last))
            spans = [(start, stop) for start, stop in spans if first <= start and stop <= last]
            reason = None if spans else "is empty between the lines that mark its beginning and end"
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
        except RecipeError as error:
            reason = str(error)
        if reason is not None or file.reason is not None:
            found.append(replace(file, reason=file.reason or reason))
            continue
        for number, (start, stop) in enumerate(spans):
            of_bytes: SplitName | None = None
            if marks:
                of_bytes = "train" if start < marks[0] else "validation" if start < marks[1] else "test"
            name = f"{file.name}#{number + 1}" if len(spans) > 1 else file.name
            part = None if (start, stop) == (0, size) else (start, stop)
            found.append(replace(file, name=name, part=part, split=of_bytes or file.split))
    return found


def _between(path: Path, recipe: Recipe) -> tuple[int, int]:
    """Return the first byte after the line that begins a text, and the first byte of the line that ends it."""
    assert recipe.between is not None
    begins, ends = (line.encode() for line in recipe.between)
    first, place = None, 0
    with path.open("rb") as file:
        for line in file:
            if first is None and line.startswith(begins):
                first = place + len(line)
            elif first is not None and line.startswith(ends):
                return first, place
            place += len(line)
    missing = recipe.between[0 if first is None else 1]
    raise RecipeError(f"has no line that begins with {missing!r}, as the recipe {recipe.name} expects")
