"""Finds the longest run that a sequence shares with any of many others.

Every window of L numbers has a polynomial hash modulo 2^64 (Karp and Rabin 1987). If a run of length L is shared, so is
one of length L - 1, so L is found by bisection. Hash matches are then compared number by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CommonRun", "CopyIndex"]

_BASE = 0x9E3779B97F4A7C15
"""The base is odd, so that it has an inverse modulo 2^64, and 5 modulo 8, so that its powers have the largest possible
period."""
_INVERSE = pow(_BASE, -1, 2**64)


@dataclass(frozen=True, slots=True)
class CommonRun:
    """The longest run of one query."""

    length: int
    """Length in numbers; 0 if nothing is shared."""
    start: int = 0
    """Start in the query."""
    sequence: int = -1
    """Index of the sequence in which it was found, the first of several; -1 for none."""
    place: int = 0
    """Start in that sequence."""


class CopyIndex:
    """An index of sequences for finding runs. A run never crosses from one sequence into the next."""

    def __init__(self, sequences: Sequence[NDArray[np.int64]]) -> None:
        """
        Args:
            sequences: Integer sequences, (N,) each.
        """
        self._numbers = np.concatenate([np.zeros(0, dtype=np.int64), *sequences])
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        self._ends = np.cumsum(lengths)
        self._hashes = _Hashes(self._numbers, np.repeat(self._ends, lengths))
        self._kept: _Known | None = None

    def longest(self, queries: Sequence[NDArray[np.int64]]) -> list[CommonRun]:
        """Find the longest run of every query, (N,) each.

        All queries are bisected together, with bounds at powers of two: many of them then need the same L, and the
        sequences are hashed and sorted once for each L.
        """
        hashes = [_Hashes(query, np.full(len(query), len(query))) for query in queries]
        found = [0] * len(queries)
        step = 1 << max((len(query) for query in queries), default=0).bit_length()
        while step := step >> 1:
            asked: dict[int, list[int]] = {}
            for number, query in enumerate(queries):
                if found[number] + step <= len(query):
                    asked.setdefault(found[number] + step, []).append(number)
            for length, numbers in asked.items():
                known = self._known(length)
                for number in numbers:
                    if _contains(known.ordered, hashes[number].of_length(length)[1]).any():
                        found[number] = length
        runs = dict.fromkeys(range(len(queries)), CommonRun(0))
        # Sorted by length, so that each length is hashed once and not once per query.
        for number in sorted(runs, key=found.__getitem__):
            runs[number] = self._locate(queries[number], hashes[number], found[number])
        return list(runs.values())

    def _known(self, length: int) -> _Known:
        """Return the windows of a length in all sequences; recent lengths are cached."""
        if self._kept is None or self._kept.length != length:
            places, hashes = self._hashes.of_length(length)
            self._kept = _Known(length, places, hashes, np.sort(hashes))
        return self._kept

    def _locate(self, query: NDArray[np.int64], hashes: _Hashes, length: int) -> CommonRun:
        """Return the run of a length that was found by its hash, or a shorter one in case of a hash collision."""
        for shorter in range(length, 0, -1):
            known = self._known(shorter)
            starts, wanted = hashes.of_length(shorter)
            for at in np.flatnonzero(_contains(known.ordered, wanted)).tolist():
                start = int(starts[at])
                for place in known.places[known.hashes == wanted[at]].tolist():
                    if (self._numbers[place : place + shorter] == query[start : start + shorter]).all():
                        return self._run(shorter, start, place)
        return CommonRun(0)

    def _run(self, length: int, start: int, place: int) -> CommonRun:
        """Build a run from its position in the concatenated sequences."""
        sequence = int(np.searchsorted(self._ends, place, side="right"))
        return CommonRun(length, start, sequence, place - (int(self._ends[sequence - 1]) if sequence else 0))


@dataclass(frozen=True, slots=True)
class _Known:
    """The M windows of one length."""

    length: int
    places: NDArray[np.int64]
    """(M,) starts of the windows."""
    hashes: NDArray[np.uint64]
    """(M,)"""
    ordered: NDArray[np.uint64]
    """(M,) hashes in ascending order."""


class _Hashes:
    """Hashes of windows of any length over numbers x, from the prefix sums P_i = sum_(j<i) f(x_j) b^j:

    hash(i, L) = (P_(i+L) - P_i) b^-i        modulo 2^64
    """

    def __init__(self, numbers: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """
        Args:
            numbers: (N,) integers.
            ends: (N,) latest end of a window that begins at each position.
        """
        powers = _powers(_BASE, len(numbers))
        self._prefixes = np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(_mix(numbers) * powers)))
        self._inverses = _powers(_INVERSE, len(numbers))
        self._room = ends - np.arange(len(numbers))

    def of_length(self, length: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Return the starts (M,) of the windows of a length, and their hashes (M,)."""
        places = np.flatnonzero(self._room >= length)
        return places, (self._prefixes[places + length] - self._prefixes[places]) * self._inverses[places]


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    """Return base^0, base^1, ... modulo 2^64, (count,)."""
    factors = np.full(count, base, dtype=np.uint64)
    factors[:1] = 1
    return np.cumprod(factors)


def _mix(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Scramble each number to 64 bits (splitmix64): small numbers would differ in their low bits only."""
    x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _contains(known: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which of `wanted` are in the sorted `known`."""
    if not len(known):
        return np.zeros(len(wanted), dtype=bool)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    found: NDArray[np.bool_] = known[at] == wanted
    return found
