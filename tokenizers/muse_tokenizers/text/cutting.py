"""Where one text is divided between training, validation and test: at the seams of the text, never within a line that
need not be broken."""

from __future__ import annotations

from pathlib import Path

__all__ = ["held_out_marks"]

_WIDEST = 2**18
"""Bytes on each side of the exact place in which a seam is looked for, at most."""
_MARKS = {
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
"""Byte order marks of texts whose characters are several bytes wide."""


def held_out_marks(path: Path, first: int, last: int, held_out: float) -> tuple[int, int] | None:
    """The bytes at which validation and test begin.

    Args:
        path: the file.
        first: the first byte of the text in it.
        last: the byte after its last.
        held_out: the fraction that is for validation, and again for test; the end of the text is held out.

    Returns:
        Both are after an empty line where there is one near, else after a line, else after a space, else between two
        characters; None where the text is too short or nothing is to be held out.

    Raises:
        OSError: it cannot be read.
    """
    part = int((last - first) * held_out)
    if part < 1:
        return None
    with path.open("rb") as file:
        head = file.read(4)
        encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf-8")
        reach = min(part // 2, _WIDEST)
        found = []
        for place in (last - 2 * part, last - part):
            start = max(first, place - reach)
            file.seek(start)
            found.append(start + _seam(file.read(place + reach - start), place - start, start, encoding))
    validation, test = found
    return (validation, test) if first < validation < test < last else None


def _seam(data: bytes, wanted: int, start: int, encoding: str) -> int:
    """The end of the seam in these bytes that is nearest to a place; `start` is where they begin in their file."""
    width = {"utf-16": 2, "utf-32": 4}.get(encoding[:6], 1)
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
