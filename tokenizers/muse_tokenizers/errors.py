"""What a user of a tokenizer can meet, as one tree.

TokenizerError            (a MuseError) one line for a person: what was found, where, what is allowed
├── UnreadablePiece       a file that is not a piece of this domain, or an empty or an endless one
├── UnwritablePiece       a piece that could not be written where it was asked for
├── UnknownTokenizer      a folder that does not hold a tokenizer, or one of another kind
├── UnusableCodec         a codec that is not there, damaged, or of another shape than is needed
└── ImpossibleWish        a wish (instrument, key, tempo, ...) that this tokenizer cannot grant

What could be read only after a repair is a warning: readers call a `Warn` with one line for each, and where the caller
gives none, it becomes a Python warning, `FileWarning`.
"""

import warnings
from collections.abc import Callable
from unicodedata import category

__all__ = [
    "FileWarning",
    "ImpossibleWish",
    "MuseError",
    "TokenizerError",
    "UnknownTokenizer",
    "UnreadablePiece",
    "UnusableCodec",
    "UnwritablePiece",
    "Warn",
    "one_line",
    "warn_about_file",
]

Warn = Callable[[str], None]
"""Called with one line that names a file and says what was repaired or left out."""


def one_line(text: str) -> str:
    """A text as one line that can be written and commands no terminal, whatever damaged file is quoted in it.

    >>> one_line("no key\\nis called '\\x1b'")
    "no key is called '\\\\x1b'"
    """
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(repr(one)[1:-1] if category(one) in ("Cc", "Cs") else one for one in joined)


class MuseError(Exception):
    """A mistake that a person can correct; its text is one line. Base of every error that this project raises."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class TokenizerError(MuseError):
    """What is wrong with a file, a tokenizer or a constraint."""


class UnreadablePiece(TokenizerError):
    """A file that is not a piece of this domain, or an empty or an endless one."""


class UnwritablePiece(TokenizerError):
    """A piece that could not be written where it was asked for."""


class UnknownTokenizer(TokenizerError):
    """A folder that does not hold a tokenizer, or one of another kind."""


class ImpossibleWish(TokenizerError):
    """A wish (instrument, key, tempo, length) that this tokenizer cannot grant."""


class UnusableCodec(TokenizerError):
    """A codec that is not there, damaged, or of another shape than is needed."""


class FileWarning(UserWarning):
    """A file was read, but not as it stands: something was repaired, converted or left out."""


def warn_about_file(message: str) -> None:
    """Issue a `FileWarning` at the line that called the reader."""
    warnings.warn(message, FileWarning, stacklevel=3)
