"""Lengths of the notes of a prompt in its file: ids round lengths, to at most twelve beats."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from symusic.core import TrackTick as Track

__all__ = ["FileNotes"]


class FileNotes:
    """Ends of notes, found by player, pitch and approximate onset."""

    def __init__(self, tracks: Iterable[tuple[int, Track]], moved: Callable[[Any], Any]) -> None:
        """
        Args:
            tracks: Tracks with the number of their player.
            moved: Converts (N,) ticks of the file to (N,) ticks of the ids.
        """
        self._voices: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
        for player, track in tracks:
            notes = track.notes.numpy()
            time = notes["time"].astype(np.int64)
            order = np.argsort(time, kind="stable")
            columns = (notes["pitch"], moved(time), moved(time + notes["duration"]))
            for pitch, start, end in zip(*(column[order].tolist() for column in columns), strict=True):
                starts, ends = self._voices.setdefault((player, pitch), ([], []))
                starts.append(start)
                ends.append(end)

    def end(self, player: int, pitch: int, start: float, reach: float) -> float | None:
        """Return the end of the note that begins nearest to a tick; None if none is within `reach`."""
        starts, ends = self._voices.get((player, pitch), ([], []))
        place = bisect_left(starts, start)
        near = [other for other in (place - 1, place) if 0 <= other < len(starts)]
        best = min(near, key=lambda other: abs(starts[other] - start), default=None)
        return None if best is None or abs(starts[best] - start) > reach else ends[best]
