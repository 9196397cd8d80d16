"""UTF-8 as an automaton: which bytes are allowed next, also inside a character.

Source: The Unicode Standard 16.0, table 3-7, well-formed UTF-8 byte sequences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["ILL", "STATES", "WHOLE", "characters_before", "runs", "state_after", "transitions"]

WHOLE = 0
"""The state between two characters."""
ILL = 8
"""The state after ill-formed bytes."""
STATES = 9
_ONE, _TWO, _E0, _ED, _F0, _THREE, _F4 = range(1, 8)
"""Missing bytes: one, two or three; or those after a first byte that restricts the second."""
_LONGEST = 4
"""Length of a character in bytes."""
_INVALID = re.compile("([\udc80-\udcff]+)")


def _table() -> NDArray[np.int8]:
    next_state = np.full((STATES, 256), ILL, dtype=np.int8)
    next_state[WHOLE, :0x80] = WHOLE
    next_state[WHOLE, 0xC2:0xE0] = _ONE
    next_state[WHOLE, 0xE0:0xF0] = _TWO
    next_state[WHOLE, [0xE0, 0xED]] = _E0, _ED
    next_state[WHOLE, [0xF0, 0xF4]] = _F0, _F4
    next_state[WHOLE, 0xF1:0xF4] = _THREE
    for state, low, high, to in (
        (_ONE, 0x80, 0xC0, WHOLE), (_TWO, 0x80, 0xC0, _ONE), (_THREE, 0x80, 0xC0, _TWO),
        (_E0, 0xA0, 0xC0, _ONE), (_ED, 0x80, 0xA0, _ONE), (_F0, 0x90, 0xC0, _TWO), (_F4, 0x80, 0x90, _TWO),
    ):  # fmt: skip
        next_state[state, low:high] = to
    return next_state


_NEXT = _table()


def transitions(tokens: Sequence[bytes]) -> NDArray[np.int8]:
    """Return the next state for each state and token, (STATES, V); ILL is absorbing. A token without bytes leads to no
    state."""
    lengths = np.array([len(token) for token in tokens])
    longest = int(lengths.max(initial=0))
    padded = np.frombuffer(b"".join(token.ljust(longest, b"\0") for token in tokens), dtype=np.uint8)
    padded = padded.reshape(len(tokens), longest)
    state = np.repeat(np.arange(STATES, dtype=np.int8)[:, None], len(tokens), axis=1)
    for place in range(longest):
        state = np.where(place < lengths, _NEXT[state, padded[:, place]], state)
    state[:, lengths == 0] = ILL
    return state


def state_after(data: bytes) -> int:
    """Return the state after the last byte of a text; earlier ill-formed bytes are ignored."""
    for start in range(max(0, len(data) - _LONGEST + 1), len(data)):
        state = WHOLE
        for byte in data[start:]:
            state = int(_NEXT[state, byte])
        if state not in (WHOLE, ILL):
            return state
    return WHOLE


def runs(data: bytes) -> list[str | bytes]:
    """Split a text into well-formed segments (str) and the bytes between them.

    >>> runs(b"caf\\xc3\\xa9 \\xff!")
    ['café ', b'\\xff', '!']
    """
    text = data.decode("utf-8", "surrogateescape")
    # Every second part could not be decoded; a well-formed text is not copied.
    parts = [text] if text.isascii() else _INVALID.split(text)
    return [
        part.encode("utf-8", "surrogateescape") if number % 2 else part for number, part in enumerate(parts) if part
    ]


def characters_before(data: bytes) -> NDArray[np.int64]:
    """Return the number of characters that begin before each byte, and in total, (N + 1,)."""
    begins = (np.frombuffer(data, dtype=np.uint8) & 0xC0) != 0x80
    return np.concatenate([[0], np.cumsum(begins)])
