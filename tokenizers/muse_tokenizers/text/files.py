"""Reads text files, whole or in part, and divides large ones."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

from muse_tokenizers.base import Span
from muse_tokenizers.contents import LOOKED_AT, check_content
from muse_tokenizers.errors import UnreadablePieceError, Warn, warn_about_file
from muse_tokenizers.text.encodings import encoding_by_mark, to_utf8, unit_of

__all__ = ["LINE_ENDS", "LOOKED_AT", "LineEnds", "check_text", "read_text", "spans_of"]

LineEnds = Literal["lf", "keep"]
LINE_ENDS = ("lf", "keep")

_LONGEST = 4 * 2**20
"""Largest size of a part in bytes."""


def read_text(
    path: Path,
    part: Span | None = None,
    line_ends: LineEnds = "keep",
    *,
    encoding: str | None = None,
    warn: Warn = warn_about_file,
) -> bytes:
    """Read a text file, or a part of it, as UTF-8 without a byte order mark.

    Args:
        path: Path of the file.
        part: Byte range (first, end); None for the whole file.
        line_ends: `lf` removes carriage returns before line feeds; `keep` keeps them.
        encoding: Encoding of a file without a byte order mark; None for UTF-8 or automatic detection. Bytes in no known
            encoding are kept.
        warn: Called with one line if the text was converted.

    Raises:
        UnreadablePieceError: The file cannot be read, is empty, or is not text.
    """
    try:
        with path.open("rb") as file:
            head, size = file.read(LOOKED_AT), path.stat().st_size
            start, stop = part or (0, size)
            file.seek(start)
            data = file.read(stop - start)
    except OSError as error:
        raise UnreadablePieceError(f"cannot read {path}: {error.strerror}") from error
    check_content(head, "text", str(path), warn)
    mark = encoding_by_mark(head)
    if mark is not None:
        encoding, length = mark
        data = data[max(0, length - start) :]
    data, warning = to_utf8(data, encoding, str(path), goes_on=stop < size)
    if line_ends == "lf":
        data = data.replace(b"\r\n", b"\n")
    check_text(data, str(path))
    if warning is not None:
        warn(f"{path} {warning}")
    return data


def check_text(data: bytes, name: str) -> None:
    """Raise UnreadablePieceError if data are empty, or not text."""
    if not data:
        raise UnreadablePieceError(f"{name} is empty")
    place = data.find(b"\0", 0, LOOKED_AT)
    if place >= 0:
        raise UnreadablePieceError(f"{name} is not text: byte {place + 1:,} is zero")


def spans_of(path: Path, marks: tuple[int, ...] = (), *, encoding: str | None = None) -> list[Span]:
    """Divide a file into parts of at most 4 MiB, after an empty line if there is one; a part also ends at each of
    `marks`. `encoding` is that of a file without a byte order mark. Raises OSError."""
    size = path.stat().st_size
    spans: list[Span] = []
    with path.open("rb") as file:
        by_mark = encoding_by_mark(file.read(4))
        encoding = by_mark[0] if by_mark is not None else encoding or "utf-8"
        unit = unit_of(encoding)
        edges = [0, *sorted({mark - mark % unit for mark in marks if unit <= mark < size}), size]
        for start, end in pairwise(edges):
            while end - start > _LONGEST:
                file.seek(start + _LONGEST // 2)
                data = file.read(_LONGEST // 2)
                stop = start + _LONGEST // 2 + (_seam(data) if unit == 1 else _wide_seam(data, encoding, unit))
                spans.append((start, stop))
                start = stop
            spans.append((start, end))
    return spans


def _wide_seam(data: bytes, encoding: str, unit: int) -> int:
    """Like `_seam`, for encodings in which every character is a multiple of `unit` bytes."""
    line_end = "\n".encode(encoding)
    place = data.rfind(line_end)
    while place >= 0:
        if place % unit == 0:
            return place + unit
        place = data.rfind(line_end, 0, place + unit - 1)
    end = len(data) - len(data) % unit - unit
    # Not inside a surrogate pair.
    halved = unit == 2 and 0xD8 <= data[end - 1 if encoding.endswith("le") else end - 2] < 0xDC
    return end - unit * halved


def _seam(data: bytes) -> int:
    """Return where to cut these bytes: after the last empty line, else after the last line, else between characters."""
    for wanted in (b"\n\n", b"\r\n\r\n", b"\n"):
        place = data.rfind(wanted)
        if place >= 0:
            return place + len(wanted)
    end = len(data)
    while end > 1 and (data[end - 1] & 0xC0) == 0x80:
        end -= 1
    return max(1, end - 1)
