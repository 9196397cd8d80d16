"""Files of text: read whole or in part, and cut into parts where they are large."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

from muse_tokenizers.base import Span
from muse_tokenizers.errors import UnreadablePiece

__all__ = ["LINE_ENDS", "LOOKED_AT", "LineEnds", "check_text", "read_text", "spans_of"]

LineEnds = Literal["lf", "keep"]
LINE_ENDS = ("lf", "keep")

_MARK = b"\xef\xbb\xbf"
"""The byte order mark, which says UTF-8 and is no text."""
_LONGEST = 4 * 2**20
"""Bytes of a part, at most."""
LOOKED_AT = 2**16
"""Bytes in which a zero byte is looked for, which no text has."""


def read_text(path: Path, part: Span | None = None, line_ends: LineEnds = "keep") -> bytes:
    """A file of text, or a part of it.

    Args:
        path: where it is.
        part: its first byte, and the byte after its last.
        line_ends: `lf` leaves out carriage returns before line feeds, and the byte order mark; `keep` nothing.

    Raises:
        UnreadablePiece: it cannot be read, or is empty, or no text.
    """
    try:
        with path.open("rb") as file:
            start, stop = part or (0, path.stat().st_size)
            file.seek(start)
            data = file.read(stop - start)
    except OSError as error:
        raise UnreadablePiece(f"cannot read {path}: {error.strerror}") from error
    if line_ends == "lf":
        data = data.removeprefix(_MARK).replace(b"\r\n", b"\n")
    check_text(data, str(path))
    return data


def check_text(data: bytes, name: str) -> None:
    """Raises UnreadablePiece: it is empty, or no text."""
    if not data:
        raise UnreadablePiece(f"{name} is empty")
    place = data.find(b"\0", 0, LOOKED_AT)
    if place >= 0:
        raise UnreadablePiece(f"{name} is no text: byte {place + 1:,} is zero")


def spans_of(path: Path, marks: tuple[int, ...] = ()) -> list[Span]:
    """The parts of a file, none of them larger than 4 MiB, cut after an empty line where there is one; at `marks` one
    ends. Raises OSError."""
    size = path.stat().st_size
    edges = [0, *sorted({mark for mark in marks if 0 < mark < size}), size]
    spans: list[Span] = []
    with path.open("rb") as file:
        for start, end in pairwise(edges):
            while end - start > _LONGEST:
                file.seek(start + _LONGEST // 2)
                stop = start + _LONGEST // 2 + _seam(file.read(_LONGEST // 2))
                spans.append((start, stop))
                start = stop
            spans.append((start, end))
    return spans


def _seam(data: bytes) -> int:
    """Where to cut in these bytes: after the last empty line, else after the last line, else between characters."""
    for wanted in (b"\n\n", b"\r\n\r\n", b"\n"):
        place = data.rfind(wanted)
        if place >= 0:
            return place + len(wanted)
    end = len(data)
    while end > 1 and (data[end - 1] & 0xC0) == 0x80:
        end -= 1
    return max(1, end - 1)
