"""Writes files and folders atomically: a reader finds either the old or the new content."""

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
    """Create a folder and its parents, and return it.

    Raises:
        OutputError: The path is a file, or the folder cannot be created.
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
    """Make a rename inside `folder` durable. On Windows a folder cannot be opened, and renames are durable."""
    if os.name == "posix":
        _sync(folder)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; it is renamed to `path` when the block ends without an error.

    Raises:
        OutputError: The file could not be written (no space, no permission); `path` is unchanged.
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
        # If it could not be created (no such folder, a name that is too long), it cannot be removed either.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Raises:
        OutputError: The file could not be written; see `atomic_path`.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file with \\n line ends, atomically.

    Raises:
        OutputError: The file could not be written; see `atomic_path`.
    """
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `folder` to fill; it is renamed to `folder` when the block ends without an
    error. An existing folder is replaced.

    A folder of that name that was there is replaced.

    Raises:
        OutputError: A file could not be written; `folder` is unchanged.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        for path in sorted(temporary.rglob("*")):
            _sync(path)
        if folder.exists():
            # A folder cannot be renamed to a name of a non-empty folder, so the old one is renamed first.
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
        # An error of a file inside is reported under its final name, because nobody knows the temporary one.
        raise error.with_name(temporary, str(folder)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_LEFT_OVER = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)(?P<old>\.old)?\.tmp")


def _is_alive(process: int) -> bool:
    """Whether another process with this number is running; false if it cannot be determined."""
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
    """Remove what a kill during `atomic_path` or `atomic_folder` left in a folder.

    A kill between the two renames of `atomic_folder` leaves only the old folder under a temporary name: it is restored.
    Files with other names, and those that a running process is writing, are left alone.

    Raises:
        OutputError: The old folder could not be restored.
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
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
