"""Words numbers with nouns."""

from __future__ import annotations

__all__ = ["counted"]


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
