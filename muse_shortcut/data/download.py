"""Downloads what a recipe names: one file from one address, checked against its checksum and unpacked safely, once.

Knows addresses, checksums and archives; `muse_shortcut.data.scan.scan_files` finds the files in the result. A cache
holds, for a recipe NAME,

    NAME.zip      the downloaded file (.tar.gz, .tar.xz, .tar.bz2; .download if it is not an archive)
    NAME.sha256   the address and the checksum of the first download
    NAME/         its content, with the checksum of the archive in NAME/.muse-source
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
"""Called with the number of bytes downloaded so far, and the total (None if the server does not state it)."""

UNPACKED_LIMIT = 16 * 2**30
"""Largest unpacked size of an archive in bytes; more is a mistake or an attack, and would fill the disk."""

TIMEOUT = 30
"""Timeout in seconds without data from the server."""

_BLOCK = 2**18
_OWN_FILES = "muse-prepare --from-folder DIR, in Python (recipe, folder)"
"""How to use files that are here already."""
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
    NotImplementedError,  # a compression method that zipfile lacks
    RuntimeError,  # an encrypted member
)


def cache_folder() -> Path:
    """Return the folder of downloads: $MUSE_CACHE, or the cache folder of the platform (~/.cache/muse-shortcut)."""
    chosen = os.environ.get("MUSE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("muse-shortcut"))


def fetch(recipe: Recipe, cache: Path, progress: Progress | None = None) -> Path:
    """Download and unpack the files of a recipe unless they are in the cache, and return their folder.

    A file must match the checksum of the recipe or, if it has none, the checksum of the first download.

    Args:
        recipe: The recipe.
        cache: Folder of downloads.
        progress: Called with the progress of the download.

    Raises:
        DownloadError: The file could not be downloaded completely, has another checksum, or is not safe to unpack.
        OutputError: The cache could not be written.
    """
    url = recipe.url
    if url is None:
        raise DownloadError(
            f"recipe {recipe.name} has no address to download from; name a folder with its files ({_OWN_FILES})"
        )
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
    # The checksum is recorded only after unpacking: a page that says "busy" must not become the expected content.
    write_text(record, f"{checksum}  {url}\n")
    return folder


def _recorded(record: Path, url: str) -> str | None:
    """Return the checksum of the first download from this address."""
    try:
        words = record.read_text("utf-8").split()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DownloadError(f"{record} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(words) != 2 or len(words[0]) != 64:
        raise DownloadError(f"{record} is damaged; allowed: a SHA-256 and an address; delete it to download again")
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
    # If it cannot be removed, it cannot be written either, and that error is the one to report.
    with suppress(OSError):
        path.unlink()


def _unexpected(recipe: Recipe, found: str, expected: str, record: Path) -> DownloadError:
    start = f"recipe {recipe.name}: what {recipe.url} sends has the SHA-256 {found}"
    if recipe.sha256 is not None:
        return DownloadError(f"{start}; allowed: {expected}; nothing of it is kept")
    return DownloadError(
        f"{start}, and had {expected} when it was first downloaded; nothing of it is kept; to accept the new one, "
        f"delete {record}"
    )


class _Meter:
    """Progress bar for pooch, which reports blocks and sets the total from the server's header."""

    def __init__(self, progress: Progress | None) -> None:
        self.total = 0
        self._done = 0
        self._progress = progress

    def update(self, count: int) -> None:
        # pooch counts an incomplete last block as a whole one.
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
    # Without this a server may compress the response, and Content-Length would not count the bytes that are written.
    headers = {"Accept-Encoding": "identity"}
    reason = None
    cause: Exception | None = None
    try:
        HTTPDownloader(progressbar=meter, chunk_size=_BLOCK, timeout=TIMEOUT, headers=headers)(url, str(target), None)
    except requests.RequestException as error:
        # These errors are OSErrors, and would otherwise be reported as a failure to write to the disk.
        reason, cause = _reason(error), error
    except ValueError as error:
        reason, cause = f"its answer is not valid HTTP ({error})", error
    size = target.stat().st_size
    if cause is None and size == 0:
        reason = "the server sent nothing"
    elif size < meter.total or (size > 0 and cause is not None):
        reason = f"the connection broke off before {meter.total or 'all'} bytes had come"
    if reason is not None:
        raise DownloadError(
            f"cannot download recipe {recipe.name} from {url}: {reason}; "
            f"to use files that you have, name their folder ({_OWN_FILES})"
        ) from cause


def _reason(error: Exception) -> str:
    """Return the cause that a user can act on, out of deeply nested errors."""
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
    """Unpacks members of an archive into one folder and nowhere else, up to a limit of the total size."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left = UNPACKED_LIMIT

    def add(self, name: str, content: IO[bytes] | None) -> None:
        """Write one member; one without content is a folder."""
        parts = PurePosixPath(name).parts
        absolute = name.startswith("/") or PureWindowsPath(name).drive != ""
        unprintable = any(ord(letter) < 32 for letter in name)
        # "./", which tar writes for the root, has no parts: valid for a folder, not for a file.
        if absolute or unprintable or ".." in parts or "\\" in name or not (parts or content is None):
            raise DownloadError(f"holds {name!r}; allowed: names that stay inside a folder")
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
        self.charge(4096)  # an empty file uses space too
        while block := content.read(_BLOCK):
            self.charge(len(block))
            file.write(block)

    def charge(self, size: int) -> None:
        """Count the bytes that are actually unpacked: the size in a header cannot be trusted."""
        self._left -= size
        if self._left < 0:
            raise DownloadError(f"unpacks to more than {UNPACKED_LIMIT} bytes, the most that is allowed")


def _unpack(archive: Path, recipe: Recipe, unpacking: _Unpacking) -> None:
    """Unpack files and folders. Links and devices are refused; owners and permissions are ignored."""
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
        # A damaged zip file can point before its own start, which the system reports as an invalid argument; for
        # damaged bzip2 data Python raises a plain OSError.
        if error.errno in (errno.EINVAL, None):
            raise _damaged(recipe, error) from error
        raise


def _damaged(recipe: Recipe, error: Exception) -> DownloadError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return DownloadError(f"is not a complete {recipe.archive} archive ({reason})")


def _link(name: str) -> DownloadError:
    return DownloadError(f"holds {name!r}, a link or a device; allowed: files and folders")


def _unpack_zip(archive: Path, unpacking: _Unpacking) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            # A zip file from Unix has the file type here; others leave it 0.
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
    # tarfile stops at the end of the archive; the checksum of the compression comes after it.
    while block := stream.read(_BLOCK):
        unpacking.charge(len(block))
