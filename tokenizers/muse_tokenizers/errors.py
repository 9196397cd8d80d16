"""What a user of a tokenizer can meet, as one tree.

TokenizerError            (a MuseError) one line for a person: what was found, where, what is allowed
├── UnreadablePieceError       a file that is not a piece of this domain, or an empty or an endless one
├── UnwritablePieceError       a piece that could not be written where it was asked for
├── UnknownTokenizerError      a folder that does not hold a tokenizer, or one of another kind
├── CodecError         a codec that is not there, damaged, or of another shape than is needed
└── ConstraintError        a constraint (instrument, key, tempo, ...) that this tokenizer cannot grant
    └── InvalidConstraintError   one constraint has an invalid value: also an `InvalidOptionError`

What could be read only after a repair is a warning: readers call a `Warn` with one line for each, and where the caller
gives none, it becomes a Python warning, `FileWarning`.
"""

import re
import warnings
from collections.abc import Callable
from typing import Self
from unicodedata import category

__all__ = [
    "CodecError",
    "ConstraintError",
    "FileWarning",
    "InvalidConstraintError",
    "InvalidOptionError",
    "MuseError",
    "TokenizerError",
    "UnknownTokenizerError",
    "UnreadablePieceError",
    "UnwritablePieceError",
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

    def with_name(self, path: object, name: str) -> Self:
        """The same error about a file that has another name where the user is.

        >>> str(MuseError("cannot read /tmp/x7/a.mid").with_name("/tmp/x7/a.mid", "song.mid"))
        'cannot read song.mid'
        """
        return type(self)(*(one.replace(str(path), name) if isinstance(one, str) else one for one in self.args))


class TokenizerError(MuseError):
    """What is wrong with a file, a tokenizer or a constraint."""


class InvalidOptionError(MuseError):
    """One option has an invalid value. `worded` gives the option the name that it has where the user is: `num_samples`
    in Python, `--num-samples` on a command line, its label on a page.

    Attributes:
        option: Name of the option in Python, with dots before nested fields.
        value: Value that was given.
        allowed: Allowed values, in words. Names of other options are in braces: "{greedy}".

    >>> error = InvalidOptionError("temperature", 0, "more than 0; {greedy} takes the likeliest")
    >>> error.worded(lambda name: f"--{name}")
    '--temperature is 0; allowed: more than 0; --greedy takes the likeliest'
    """

    def __init__(self, option: str, value: object, allowed: str) -> None:
        super().__init__(option, value, allowed)
        self.option, self.value, self.allowed = option, value, allowed

    def worded(self, called: Callable[[str], str] = str) -> str:
        """One line in which every option has the name that `called` gives it."""
        value = repr(self.value) if isinstance(self.value, str) else str(self.value)
        allowed = _OPTION.sub(lambda found: called(found[1]), self.allowed)
        return one_line(f"{called(self.option)} is {value[:_SHOWN]}; allowed: {allowed}")

    def __str__(self) -> str:
        return self.worded()


_OPTION = re.compile(r"\{([a-z_.]+)\}")
_SHOWN = 60
"""Letters of a value."""


class UnreadablePieceError(TokenizerError):
    """A file that is not a piece of this domain, or an empty or an endless one."""


class UnwritablePieceError(TokenizerError):
    """A piece that could not be written where it was asked for."""


class UnknownTokenizerError(TokenizerError):
    """A folder that does not hold a tokenizer, or one of another kind."""


class ConstraintError(TokenizerError):
    """A constraint (instrument, key, tempo, length) that this tokenizer cannot grant."""


class InvalidConstraintError(InvalidOptionError, ConstraintError):
    """One constraint has an invalid value, or one that this tokenizer cannot grant."""


class CodecError(TokenizerError):
    """A codec that is not there, damaged, or of another shape than is needed."""


class FileWarning(UserWarning):
    """A file was read, but not as it stands: something was repaired, converted or left out."""


def warn_about_file(message: str) -> None:
    """Issue a `FileWarning` at the line that called the reader."""
    warnings.warn(message, FileWarning, stacklevel=3)
