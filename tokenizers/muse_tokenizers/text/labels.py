"""Labels of tokens of text: readable characters, and which part of a character a token is."""

from __future__ import annotations

from muse_tokenizers.text.utf8 import runs

__all__ = ["characters_starting_in", "label_in", "readable"]

_REST = 3
"""Largest number of bytes of a character before or after one of its bytes."""


def label_in(data: bytes, start: int, end: int) -> tuple[str, str]:
    """Return a label for display, and the kind, of data[start:end] in its context.

    >>> label_in("café".encode(), 1, 3), label_in("café".encode(), 4, 5)
    (('af', 'word'), ('é (2/2)', 'byte'))
    """
    try:
        text = data[start:end].decode("utf-8")
    except UnicodeDecodeError:
        return _parts(data, start, end), "byte"
    kind = "space" if text.isspace() else "word" if any(character.isalnum() for character in text) else "mark"
    return readable(text), kind


def characters_starting_in(data: bytes, start: int, end: int) -> str:
    """Return the characters that begin in data[start:end], each complete."""
    while start < end and _goes_on(data[start]):
        start += 1
    return data[start : _whole_end(data, end)].decode("utf-8", "replace") if start < end else ""


def readable(text: str) -> str:
    """Replace line ends and tabs by visible symbols, and spaces if there is nothing else."""
    shown = text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣" if text.isspace() else " ")
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in shown)


def _parts(data: bytes, start: int, end: int) -> str:
    """Return the complete characters, and for characters in several tokens, which of their bytes these are."""
    place = start
    while place > max(0, start - _REST) and _goes_on(data[place]):
        place -= 1
    label = ""
    for run in runs(data[place : _whole_end(data, end)]):
        for character in run if isinstance(run, str) else [run]:
            length = len(character.encode()) if isinstance(character, str) else len(character)
            first, stop = max(start, place), min(end, place + length)
            if first < stop:
                named = readable(character) if isinstance(character, str) else _hexadecimal(data[first:stop])
                size = length if isinstance(character, str) else _promised(character)
                label += named + (_which(first - place, stop - place, size) if stop - first < size else "")
            place += length
    return label


def _which(first: int, stop: int, size: int) -> str:
    return f" ({first + 1}/{size})" if stop == first + 1 else f" ({first + 1}-{stop}/{size})"


def _promised(data: bytes) -> int:
    """Return the length in bytes of an incomplete character that begins like this; 0 if none can."""
    lead = data[0]
    return 2 if 0xC2 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4 if 0xF0 <= lead < 0xF5 else 0


def _hexadecimal(data: bytes) -> str:
    return " ".join(f"{byte:02x}" for byte in data)


def _goes_on(byte: int) -> bool:
    return byte & 0xC0 == 0x80


def _whole_end(data: bytes, end: int) -> int:
    """Return the end of a character that is incomplete in data[:end]."""
    stop = end
    while stop < min(len(data), end + _REST) and _goes_on(data[stop]):
        stop += 1
    return stop
