"""Divides a single text between training, validation and test, at paragraphs or lines if possible."""

from __future__ import annotations

from pathlib import Path

from muse_tokenizers.text.encodings import encoding_by_mark, unit_of

__all__ = ["held_out_marks"]

_WIDEST = 2**18
"""Largest distance from the exact position to the chosen one, in bytes."""


def held_out_marks(
    path: Path, first: int, last: int, held_out: float, encoding: str | None = None
) -> tuple[int, int] | None:
    """Choose the byte offsets at which validation and test begin.

    Args:
        path: Path of the file.
        first: First byte of the text.
        last: Byte after the last one of the text.
        held_out: Fraction for validation, and again for test; the end of the text is held out.
        encoding: Encoding of a text without a byte order mark.

    Returns:
        Two offsets, each after an empty line if there is one near, else after a line, else after a space, else between
            two characters; None if the text is too short or nothing is held out.
        characters; None where the text is too short or nothing is to be held out.

    Raises:
        OSError: The file cannot be read.
    """
    part = int((last - first) * held_out)
    if part < 1:
        return None
    with path.open("rb") as file:
        by_mark = encoding_by_mark(file.read(4))
        encoding = by_mark[0] if by_mark is not None else encoding or "utf-8"
        reach = min(part // 2, _WIDEST)
        found = []
        for place in (last - 2 * part, last - part):
            start = max(first, place - reach)
            file.seek(start)
            found.append(start + _seam(file.read(place + reach - start), place - start, start, encoding))
    validation, test = found
    return (validation, test) if first < validation < test < last else None


def _seam(data: bytes, wanted: int, start: int, encoding: str) -> int:
    """Return the end of the separator nearest to a position; `start` is the offset of the bytes in their file."""
    width = unit_of(encoding)
    for seam in ("\n\n", "\r\n\r\n", "\n", " "):
        ends = [end for end in _ends(data, seam.encode(encoding)) if (start + end) % width == 0]
        if ends:
            return min(ends, key=lambda end: (abs(end - wanted), end))
    if width > 1:
        return wanted - (start + wanted) % width
    while 0 < wanted < len(data) and (data[wanted] & 0xC0) == 0x80:
        wanted -= 1
    return wanted


def _ends(data: bytes, seam: bytes) -> list[int]:
    found, place = [], data.find(seam)
    while place >= 0:
        found.append(place + len(seam))
        place = data.find(seam, place + 1)
    return found
