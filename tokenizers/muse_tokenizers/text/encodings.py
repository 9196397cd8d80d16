"""Detects encodings of text, and converts to UTF-8."""

from __future__ import annotations

import codecs
import re

from muse_tokenizers.errors import InvalidConstraintError, UnreadablePieceError

__all__ = ["check_encoding", "encoding_by_mark", "is_surely_text", "to_utf8", "unit_of"]

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks; that of UTF-32 begins like that of UTF-16."""
_HOW = "set --encoding, in Python tokenizer.encoding"
_NO_LANGUAGES = {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7", "mbcs", "oem"}
_NEVER = re.compile(rb"[\x00-\x08\x0e-\x19\x1c-\x1f\x7f\x81\x8d\x8f\x90\x9d]")
"""Bytes that do not occur in text in Latin-1 or cp1252."""
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Except tabs, line and page ends, and the escape character of terminals."""
_LETTERS = re.compile(rb"[A-Za-z\x8a\x8c\x8e\x9a\x9c\x9e\x9f\xc0-\xff]")
_HIGH = re.compile(rb"[\x80-\xff]")
_RUNS = re.compile(rb"[\x80-\xff]{3,}")


def encoding_by_mark(head: bytes) -> tuple[str, int] | None:
    """Return the encoding that the first four bytes of a file indicate, and the length of the byte order mark."""
    return next(((name, len(mark)) for mark, name in _MARKS if head.startswith(mark)), None)


def check_encoding(name: str) -> str:
    """Return Python's name of a text encoding, after checking it."""
    try:
        found = codecs.lookup(name)
        known = found.name not in _NO_LANGUAGES and isinstance(b"a".decode(found.name, "replace"), str)
    except (LookupError, ValueError, UnicodeError):
        known = False
    if not known:
        raise InvalidConstraintError("encoding", name, "utf-8, latin-1, cp1252, utf-16-le, shift_jis, ...")
    # Without a byte order mark, the byte order must be given.
    return f"{found.name}-le" if found.name in ("utf-16", "utf-32") else found.name


def unit_of(encoding: str) -> int:
    """Return the number of bytes of which every character is a multiple."""
    return 4 if encoding.startswith("utf-32") else 2 if encoding.startswith("utf-16") else 1


def to_utf8(data: bytes, encoding: str | None, name: str, *, goes_on: bool = False) -> tuple[bytes, str | None]:
    """Convert the bytes of a text to UTF-8.

    Args:
        data: Bytes without a byte order mark.
        encoding: Their encoding; None for UTF-8 or automatic detection.
        name: Name of the text in messages.
        goes_on: Whether they may end inside a character.

    Returns:
        The text, and a warning as the end of a sentence that begins with the name, or None.

    Raises:
        UnreadablePieceError: The bytes are not in that encoding.
    """
    if encoding == "utf-8" or (encoding is None and _is_utf8(data, goes_on)):
        return data, None
    if encoding is not None:
        return _converted(data, encoding, name)
    if not _looks_western(data):
        return (
            data,
            f"is neither UTF-8 nor Latin-1; its bytes are kept as they are (to convert them, {_HOW})",
        )
    latin = re.search(rb"[\x80-\x9f]", data) is None
    called = "Latin-1" if latin else "cp1252 (Windows)"
    text = data.decode("latin-1" if latin else "cp1252")
    return (
        text.encode(),
        f"is not UTF-8; it was read as {called}, the likely encoding (to choose another, {_HOW})",
    )


def is_surely_text(head: bytes, *, goes_on: bool) -> bool:
    """Whether data that begin like this are certainly text: with a byte order mark, or in UTF-8, Latin-1 or cp1252
    without control characters.

    Args:
        head: First bytes of a file.
        goes_on: Whether there are more bytes.
    """
    mark = encoding_by_mark(head)
    if mark is not None and mark[0] != "utf-8":
        encoding, length = mark
        body = head[length:]
        try:
            text = body[: len(body) - len(body) % unit_of(encoding)].decode(encoding, "strict")
        except UnicodeError:
            return False
        return bool(text) and not _CONTROL.search(text.encode("utf-8", "replace"))
    if not head or _CONTROL.search(head):
        return False
    return _is_utf8(head, goes_on) or _looks_western(head)


def _converted(data: bytes, encoding: str, name: str) -> tuple[bytes, str | None]:
    by_mark = unit_of(encoding) > 1
    try:
        text = data.decode(encoding, "replace" if by_mark else "strict")
    except UnicodeError as error:
        place = f": byte {error.start + 1:,} is not valid in it" if isinstance(error, UnicodeDecodeError) else ""
        raise UnreadablePieceError(f"{name} is not {encoding}{place}") from error
    lost = text.count("\ufffd") if by_mark else 0
    more = f"; {lost:,} of its characters are damaged and became \ufffd" if lost else ""
    return text.encode("utf-8", "replace"), f"is {encoding.upper()} and was converted to UTF-8{more}"


def _is_utf8(data: bytes, goes_on: bool) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return goes_on and error.end == len(data) and error.reason == "unexpected end of data"
    return True


def _looks_western(data: bytes) -> bool:
    """Whether bytes that are not UTF-8 are likely text in Latin-1 or cp1252: letters beyond ASCII are isolated, while
    they form runs in Cyrillic or Chinese encodings."""
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    beyond = sum(character > "\x7f" for character in text) - bad
    if beyond > bad or _NEVER.search(data):
        return False
    high = len(_HIGH.findall(data))
    letters = len(_LETTERS.findall(data))
    in_runs = sum(map(len, _RUNS.findall(data)))
    return 2 * high <= letters and 5 * in_runs <= high
