"""Writing files so that a reader meets the old one or the new one, never half of either."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from muse_shortcut.errors import OutputError
from muse_tokenizers.errors import TokenizerError

__all__ = ["atomic_folder", "atomic_path", "clear_left_overs", "hash_file", "make_folder", "write_bytes", "write_text"]


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def make_folder(folder: Path) -> Path:
    """Make a folder and its parents, and return it.

    Raises:
        OutputError: it is a file, or may not be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    return folder


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` last; a folder cannot be opened on Windows, where renames last by themselves."""
    if os.name == "posix":
        _sync(folder)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to; it takes the name `path` once the block ends without an error.

    Raises:
        OutputError: the file could not be written (no room, no permission); `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        # Where it could not even be made (no such folder, a name too long) it cannot be removed either.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, atomically.

    Raises:
        OutputError: see `atomic_path`.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file with \\n line ends, atomically.

    Raises:
        OutputError: see `atomic_path`.
    """
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary neighbour of `folder` to fill; it takes the name `folder` once the block ends without an error.

    A folder of that name that was there is replaced.

    Raises:
        OutputError: something could not be written; `folder` is as it was.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        for path in sorted(temporary.rglob("*")):
            _sync(path)
        if folder.exists():
            # A folder cannot be renamed onto one that has files; the old one steps aside first.
            aside = folder.with_name(f".{folder.name}.{os.getpid()}.old.tmp")
            folder.replace(aside)
            try:
                temporary.replace(folder)
            except BaseException:
                aside.replace(folder)
                raise
            shutil.rmtree(aside, ignore_errors=True)
        else:
            temporary.replace(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    except (OutputError, TokenizerError) as error:
        # Of a file inside: by the name that it would have had, since nobody knows the other.
        raise error.with_name(temporary, str(folder)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_LEFT_OVER = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)(?P<old>\.old)?\.tmp")


def _is_alive(process: int) -> bool:
    """Whether another process of this number is there; where one cannot ask, it is not."""
    if os.name != "posix" or process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def clear_left_overs(folder: Path) -> None:
    """Remove what a kill in the middle of `atomic_path` or `atomic_folder` left in a folder.

    One that was killed between its two renames has left no `NAME`, but the old one beside it: that one goes back.
    Files that others named, and those that a living process is writing, are left alone.

    Raises:
        OutputError: the old one could not be put back.
    """
    for left_over in folder.glob(".*.tmp"):
        named = _LEFT_OVER.fullmatch(left_over.name)
        if named is None or _is_alive(int(named["process"])):
            continue
        old = folder / named["name"]
        if named["old"] and not old.exists():
            try:
                left_over.replace(old)
            except OSError as error:
                raise _cannot_write(old, error) from error
        elif left_over.is_dir():
            shutil.rmtree(left_over, ignore_errors=True)
        else:
            with suppress(OSError):
                left_over.unlink()


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
