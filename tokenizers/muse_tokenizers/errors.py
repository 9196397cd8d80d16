"""The exceptions of tokenizers and domains, as one tree.

TokenizerError            (a MuseError) one line for a person: what was found, where, what is allowed
├── UnreadablePieceError       a file that is not a piece of this domain, or an empty or an endless one
├── UnwritablePieceError       a piece that could not be written where it was asked for
├── UnknownTokenizerError      a folder that does not hold a tokenizer, or one of another kind
├── CodecError         a codec that is not there, damaged, or of another shape than is needed
└── ConstraintError        a constraint (instrument, key, tempo, ...) that this tokenizer cannot grant
    └── InvalidConstraintError   one constraint has an invalid value: also an `InvalidOptionError`

PluginError               (a MuseError) an installed package that provides a domain or a last layer does not work

Repairs are reported as warnings: readers call a `Warn` with one line for each, which by default issues a Python
warning, `FileWarning`.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Self
from unicodedata import category

from muse_tokenizers.wording import counted

__all__ = [
    "CodecError",
    "ConstraintError",
    "FileWarning",
    "InvalidConstraintError",
    "InvalidOptionError",
    "MuseError",
    "PluginError",
    "TokenizerError",
    "UnknownTokenizerError",
    "UnreadablePieceError",
    "UnwritablePieceError",
    "Warn",
    "one_line",
    "warn_about",
    "warn_about_file",
]

Warn = Callable[[str], None]
"""Called with one line that names a file and says what was repaired, converted or left out."""


def one_line(text: str) -> str:
    """Convert text to one printable line, whatever damaged file is quoted in it: control characters are escaped.

    >>> one_line("no key\\nis called '\\x1b'")
    "no key is called '\\\\x1b'"
    """
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(repr(one)[1:-1] if category(one) in ("Cc", "Cs") else one for one in joined)


class MuseError(Exception):
    """Base of every error that this project raises: a mistake that a user can correct. Its message is one line.

    >>> error = MuseError("runs/a has a training already; set {resume=True}", options=("resume",))
    >>> str(error), error.worded(lambda name: f"--{name.partition('=')[0]} auto")
    ('runs/a has a training already; set resume=True', 'runs/a has a training already; set --resume auto')
    """

    def __init__(self, *args: object, options: Sequence[str] = ()) -> None:
        """
        Args:
            args: The message.
            options: Names in Python of options that the message has in braces: "{out}", or "{resume=True}" with the
                value to choose. `worded` replaces them.
        """
        super().__init__(*args)
        self.options = tuple(options)

    def worded(self, called: Callable[[str], str] = str) -> str:
        """Return the message in which every option has the name that `called` returns."""
        message = super().__str__()
        return one_line(_OPTION.sub(lambda found: called(found[1]) if found[2] in self.options else found[0], message))

    def __str__(self) -> str:
        return self.worded()

    def with_name(self, path: object, name: str) -> Self:
        """Return the same error with another name of the file, the one that the user knows.

        >>> str(MuseError("cannot read /tmp/x7/a.mid").with_name("/tmp/x7/a.mid", "song.mid"))
        'cannot read song.mid'
        """
        renamed = type(self)(*(one.replace(str(path), name) if isinstance(one, str) else one for one in self.args))
        renamed.options = self.options
        return renamed


class PluginError(MuseError):
    """A domain or a last layer of another installed package cannot be imported, or does not register itself."""


class TokenizerError(MuseError):
    """Base class of errors about a file, a tokenizer or a constraint."""


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
        """Return the message in which every option has the name that `called` returns."""
        value = repr(self.value) if isinstance(self.value, str) else str(self.value)
        allowed = _OPTION.sub(lambda found: called(found[1]), self.allowed)
        return one_line(f"{called(self.option)} is {value[:_SHOWN]}; allowed: {allowed}")


_OPTION = re.compile(r"\{(([a-z_.]+)(?:=True)?)\}")
_SHOWN = 60
"""Largest number of characters of a value in a message."""


class UnreadablePieceError(TokenizerError):
    """A file is not a piece of this domain, or is empty or too long."""


class UnwritablePieceError(TokenizerError):
    """A piece could not be written."""


class UnknownTokenizerError(TokenizerError):
    """A folder does not contain a tokenizer, or one of another kind."""


class ConstraintError(TokenizerError):
    """A constraint (instrument, key, tempo, length) is not supported by the domain."""


class InvalidConstraintError(InvalidOptionError, ConstraintError):
    """One constraint has an invalid value, or one that this tokenizer cannot grant."""


class CodecError(TokenizerError):
    """A codec is missing, damaged, or of another configuration."""


class FileWarning(UserWarning):
    """A file was read, but something was repaired, converted or left out."""


_MOST_WARNINGS = 8
"""Lines about one file; a damaged one may have thousands of faults."""


def warn_about(lines: Sequence[str], name: str, warn: Warn) -> None:
    """Warn of what was found in one reading of a file: of each line, or of the first ones and how many more there are.

    Args:
        lines: each names the file.
        name: the file's name in messages.
        warn: called with each line.
    """
    for line in lines[:_MOST_WARNINGS]:
        warn(line)
    if len(lines) > _MOST_WARNINGS:
        warn(f"{name}: and {counted(len(lines) - _MOST_WARNINGS, 'more such problem')}")


def warn_about_file(message: str) -> None:
    """Issue a `FileWarning` at the line that called the reader."""
    warnings.warn(message, FileWarning, stacklevel=3)
