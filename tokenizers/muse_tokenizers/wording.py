"""Words numbers with nouns, and names with what is said about them."""

from __future__ import annotations

__all__ = ["about", "counted"]

_VERBS = frozenset({
    "is", "are", "was", "were", "has", "had", "does", "did", "cannot", "could", "begins", "ends", "lasts",
    "lacks", "holds", "contains", "needs", "crashed", "became",
})  # fmt: skip
"""Verbs that begin a message whose subject is the file that it is about."""


def counted(number: float, noun: str, form: str = ",") -> str:
    """Return a number with its noun.

    Args:
        number: The number.
        noun: The noun in the singular; its plural ends in s.
        form: Format specification of the number, as for `format`.

    >>> counted(1, "file"), counted(12_000, "file"), counted(1.0, "minute", ".1f"), counted(0, "new note")
    ('1 file', '12,000 files', '1.0 minutes', '0 new notes')
    """
    written = format(number, form)
    return f"{written} {noun}" if written.strip() == "1" else f"{written} {noun}s"


def about(name: str, message: str) -> str:
    """Return one sentence about a file, of a message that may lack its subject.

    >>> about("a.mid", "is empty"), about("a.mid", "3 notes had no end")
    ('a.mid is empty', 'a.mid: 3 notes had no end')
    """
    return f"{name}{' ' if message.split(' ', 1)[0] in _VERBS else ': '}{message}"
