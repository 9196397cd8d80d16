"""Fetching what a recipe names: one file from one address, held to its checksum, unpacked safely, once.

Knows addresses, checksums and archives; what lies inside is for `muse_shortcut.data.recipe.survey`. A cache holds,
for a recipe NAME,

    NAME.zip      the file as it came (.tar.gz, .tar.xz, .tar.bz2; .download where it is none)
    NAME.sha256   its checksum and its address, as first met
    NAME/         what was in it, with the checksum of the file it came from in NAME/.muse-source
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, TypeAlias
from urllib.parse import unquote, urlsplit

from muse_shortcut.data.recipe import Recipe
from muse_shortcut.errors import DownloadError
from muse_shortcut.files import atomic_folder, atomic_path, hash_file, make_folder, write_text

__all__ = ["UNPACKED_LIMIT", "Progress", "cache_folder", "fetch"]

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes that have come, and how many there will be (None: the server does not say)."""

UNPACKED_LIMIT = 16 * 2**30
"""Bytes that an archive may unpack to; beyond it is a mistake or a trap, and would fill the disk."""

TIMEOUT = 30
"""Seconds that a server may stay silent."""

_BLOCK = 2**18
_STAMP = ".muse-source"
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted member
)


def cache_folder() -> Path:
    """Where downloads are kept: $MUSE_CACHE, or the platform's folder for caches (~/.cache/muse-shortcut)."""
    chosen = os.environ.get("MUSE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("muse-shortcut"))


def fetch(recipe: Recipe, cache: Path, progress: Progress | None = None) -> Path:
    """The folder that holds what the recipe names, downloaded and unpacked unless the cache has it.

    A file must have the recipe's checksum, or, where the recipe states none, the one that was met first.

    Raises:
        DownloadError: the file could not be fetched whole, or is not what it should be, or is not safe to unpack.
        OutputError: the cache cannot be written.
    """
    url = recipe.url
    if url is None:
        raise DownloadError(f"recipe {recipe.name} has no address to download from, allowed: --from-folder DIR")
    make_folder(cache)
    archive = cache / f"{recipe.name}.{recipe.archive or 'download'}"
    record = cache / f"{recipe.name}.sha256"
    folder = cache / recipe.name
    expected = recipe.sha256 or _recorded(record, url)
    if expected is not None and _stamp(folder) == expected:
        return folder
    checksum = _checksum(archive)
    if checksum is None or checksum != expected:
        _remove(archive)
        with atomic_path(archive) as unfinished:
            _download(recipe, url, unfinished, progress)
            checksum = hash_file(unfinished)
            if expected is not None and checksum != expected:
                raise _unexpected(recipe, checksum, expected, record)
    with atomic_folder(folder) as unfinished:
        try:
            _unpack(archive, recipe, _Unpacking(unfinished))
        except DownloadError as error:
            _remove(archive)
            raise DownloadError(f"recipe {recipe.name}: {url} {error}; nothing of it is kept") from error
        (unfinished / _STAMP).write_text(f"{checksum}\n", "utf-8")
    # Only now: what cannot be unpacked, such as a page that says "busy", must not become the one to hold to.
    write_text(record, f"{checksum}  {url}\n")
    return folder


def _recorded(record: Path, url: str) -> str | None:
    """The checksum met first at this address."""
    try:
        words = record.read_text("utf-8").split()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DownloadError(f"{record}: cannot be read: {error}") from error
    if len(words) != 2 or len(words[0]) != 64:
        raise DownloadError(f"{record}: is damaged, allowed: a SHA-256 and an address; delete it to begin anew")
    return words[0] if words[1] == url else None


def _stamp(folder: Path) -> str | None:
    try:
        return (folder / _STAMP).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _checksum(path: Path) -> str | None:
    try:
        return hash_file(path)
    except OSError:
        return None


def _remove(path: Path) -> None:
    # What cannot be removed cannot be written either, and that error is the one to show.
    with suppress(OSError):
        path.unlink()


def _unexpected(recipe: Recipe, found: str, expected: str, record: Path) -> DownloadError:
    start = f"recipe {recipe.name}: what {recipe.url} sends has the SHA-256 {found}"
    if recipe.sha256 is not None:
        return DownloadError(f"{start}, allowed: {expected}; nothing of it is kept")
    return DownloadError(
        f"{start}, and had {expected} when it was first met; nothing of it is kept; delete {record} to take the new one"
    )


class _Meter:
    """What pooch takes for a progress bar: it hears of blocks, and is told the total from the server's header."""

    def __init__(self, progress: Progress | None) -> None:
        self.total = 0
        self._done = 0
        self._progress = progress

    def update(self, count: int) -> None:
        # A last block is counted as a whole one.
        self._done = min(self._done + count, self.total) if self.total else self._done + count
        if self._progress is not None and count > 0:
            self._progress(self._done, self.total or None)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def _download(recipe: Recipe, url: str, target: Path, progress: Progress | None) -> None:
    import requests
    from pooch import HTTPDownloader

    meter = _Meter(progress)
    # Else a server may compress on the way: Content-Length would count other bytes than those that are written.
    headers = {"Accept-Encoding": "identity"}
    reason = None
    cause: Exception | None = None
    try:
        HTTPDownloader(progressbar=meter, chunk_size=_BLOCK, timeout=TIMEOUT, headers=headers)(url, str(target), None)
    except requests.RequestException as error:
        # Such errors are OSErrors: let through, they would be taken for a disk that cannot be written.
        reason, cause = _reason(error), error
    except ValueError as error:
        reason, cause = f"its answer makes no sense ({error})", error
    size = target.stat().st_size
    if cause is None and size == 0:
        reason = "the server sent nothing"
    elif size < meter.total or (size > 0 and cause is not None):
        reason = f"the connection broke off before {meter.total or 'all'} bytes had come"
    if reason is not None:
        raise DownloadError(
            f"cannot download recipe {recipe.name} from {url}: {reason}; "
            "with --from-folder DIR a copy is read without a network"
        ) from cause


def _reason(error: Exception) -> str:
    """The one thing a person can act on, out of errors nested five deep."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    if "Timeout" in type(error).__name__:
        return f"the server was silent for {TIMEOUT} seconds"
    reason = "the connection closed without an answer"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            reason = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return reason


class _Unpacking:
    """A folder that members of an archive are written into, and nowhere else, up to a limit in all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left = UNPACKED_LIMIT

    def add(self, name: str, content: IO[bytes] | None) -> None:
        """Write one member; without content it is a folder."""
        parts = PurePosixPath(name).parts
        absolute = name.startswith("/") or PureWindowsPath(name).drive != ""
        unprintable = any(ord(letter) < 32 for letter in name)
        # "./", which tar writes for the top, has no parts: right for a folder, not for a file.
        if absolute or unprintable or ".." in parts or "\\" in name or not (parts or content is None):
            raise DownloadError(f"holds {name!r}, allowed: names that stay inside a folder")
        path = self._folder.joinpath(*parts)
        try:
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                self._copy(content, file)
        except (FileExistsError, NotADirectoryError) as error:
            raise DownloadError(f"holds {name!r} twice, or as a file and as a folder") from error

    def _copy(self, content: IO[bytes], file: IO[bytes]) -> None:
        self.charge(4096)  # an empty file has its price too
        while block := content.read(_BLOCK):
            self.charge(len(block))
            file.write(block)

    def charge(self, size: int) -> None:
        """Count what really comes: what a header says of a size is not to be believed."""
        self._left -= size
        if self._left < 0:
            raise DownloadError(f"unpacks to more than {UNPACKED_LIMIT} bytes, the most that is allowed")


def _unpack(archive: Path, recipe: Recipe, unpacking: _Unpacking) -> None:
    """Unpack files and folders; links and devices are refused, and owners and permissions ignored."""
    try:
        if recipe.archive == "zip":
            _unpack_zip(archive, unpacking)
        elif recipe.archive == "tar.gz":
            with gzip.open(archive) as stream:
                _unpack_tar(stream, unpacking)
        elif recipe.archive == "tar.xz":
            with lzma.open(archive) as stream:
                _unpack_tar(stream, unpacking)
        elif recipe.archive == "tar.bz2":
            with bz2.open(archive) as stream:
                _unpack_tar(stream, unpacking)
        else:
            with archive.open("rb") as content:
                unpacking.add(unquote(PurePosixPath(urlsplit(recipe.url or "").path).name), content)
    except _DAMAGE as error:
        raise _damaged(recipe, error) from error
    except OSError as error:
        # A damaged zip can point to a place before its own start, which the system calls an invalid argument; of
        # damaged bzip2 Python says no more than OSError.
        if error.errno in (errno.EINVAL, None):
            raise _damaged(recipe, error) from error
        raise


def _damaged(recipe: Recipe, error: Exception) -> DownloadError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return DownloadError(f"is no whole {recipe.archive} archive ({reason})")


def _link(name: str) -> DownloadError:
    return DownloadError(f"holds {name!r}, a link or a device, allowed: files and folders")


def _unpack_zip(archive: Path, unpacking: _Unpacking) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            # A zip made on Unix keeps the kind of the file here; others leave it 0.
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _link(member.filename)
            if member.is_dir():
                unpacking.add(member.filename, None)
            else:
                with file.open(member) as content:
                    unpacking.add(member.filename, content)


def _unpack_tar(stream: gzip.GzipFile | lzma.LZMAFile | bz2.BZ2File, unpacking: _Unpacking) -> None:
    with tarfile.open(fileobj=stream, mode="r:") as file:
        for member in file:
            content = file.extractfile(member) if member.isreg() else None
            if content is None and not member.isdir():
                raise _link(member.name)
            unpacking.add(member.name, content)
    # tarfile stops at its own end; the compression's checksum comes after it.
    while block := stream.read(_BLOCK):
        unpacking.charge(len(block))
