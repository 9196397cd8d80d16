"""Codecs by name: the shipped one, Meta's, or any folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muse_tokenizers.audio.codec import Codec, codec_of, load_codec, save_codec
from muse_tokenizers.audio.codec_shape import CodecShape
from muse_tokenizers.audio.package import import_encodec
from muse_tokenizers.errors import CodecError

__all__ = ["META", "SHIPPED", "codec_folder", "fetch_codec", "find_codec"]

SHIPPED = "muse_24khz"
META = "encodec_24khz"
_META_FILE = "encodec_24khz-d7cc33bc.th"
"""File name of encodec; the part after the dash is the beginning of its SHA-256."""

OnProgress = Callable[[int, int | None], None]
"""Called with the number of bytes downloaded, and the total."""


def _cache() -> Path:
    """Return the cache folder, like `muse-prepare`: $MUSE_CACHE, or the cache folder of the platform."""
    import pooch

    return Path(os.environ.get("MUSE_CACHE") or pooch.os_cache("muse-shortcut")).expanduser()


def codec_folder(name: str) -> Path:
    """Return the folder of a codec by name, whether it exists or not: `muse_24khz`, `encodec_24khz`, or a folder."""
    if name == SHIPPED:
        return Path(__file__).parent / SHIPPED
    return _cache() / "codecs" / META if name == META else Path(name)


def find_codec(name: str) -> Codec:
    """Load a codec by name.

    Raises:
        CodecError: The codec does not exist here, or is damaged.
    """
    folder = codec_folder(name)
    if name == META and not folder.is_dir():
        raise CodecError(
            f"the codec {META} is not here: with a network, `muse-prepare audio --codec {META}` downloads it; without "
            f"one, put its file {_META_FILE} into {_cache()}"
        )
    return load_codec(folder)


def fetch_codec(
    progress: OnProgress | None = None,
    *,
    url: str | None = None,
    file_name: str = _META_FILE,
    shape: CodecShape | None = None,
) -> Path:
    """Return the folder of Meta's codec in the cache, converted from its file in the cache or downloaded if necessary.

    Args:
        progress: Called with the progress of the download.
        url: Address of the file; None for the one in encodec.
        file_name: Name of the file, which ends with the first digits of its SHA-256.
        shape: Configuration of the codec.

    Raises:
        CodecError: The file could not be downloaded, or has another checksum.
    """
    folder = codec_folder(META)
    if folder.is_dir():
        return folder
    file = _cache() / file_name
    if not file.is_file():
        _download(url or import_encodec().model.ROOT_URL + file_name, file, progress)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    expected = file_name.rpartition("-")[2].removesuffix(".th")
    if not digest.startswith(expected):
        raise CodecError(f"{file} is not {META}: its SHA-256 begins {digest[:8]}, it should be {expected}; delete it")
    _convert(file, folder, shape or CodecShape())
    return folder


class _PoochBar:
    """Progress bar for pooch."""

    def __init__(self, progress: OnProgress) -> None:
        self._progress, self._done = progress, 0
        self.total: int | None = None

    def update(self, size: int) -> None:
        self._done += size
        self._progress(self._done, self.total or None)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def _download(url: str, file: Path, progress: OnProgress | None) -> None:
    import pooch

    bar: Any = False if progress is None else _PoochBar(progress)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        downloader = pooch.HTTPDownloader(progressbar=bar, timeout=30)
        pooch.retrieve(url, known_hash=None, fname=file.name, path=file.parent, downloader=downloader)
    except Exception as error:  # whatever requests, urllib3 or the disk raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CodecError(
            f"cannot fetch {url}: {reason}; without a network put the file {file.name} into {file.parent}"
        ) from error


def _convert(file: Path, folder: Path, shape: CodecShape) -> None:
    """Convert a torch checkpoint to the folder of a codec, atomically; nothing in the file is executed."""
    import pickle

    import torch

    try:
        tensors = dict(torch.load(file, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError) as error:
        raise CodecError(f"{file} holds no weights that can be read safely; delete it") from error
    codec_of(tensors, shape)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as part:
            save_codec(tensors, shape, Path(part, folder.name), half=False)
            Path(part, folder.name).rename(folder)
    except OSError as error:
        raise CodecError(f"cannot write the codec {folder}: {error.strerror or error}") from error
