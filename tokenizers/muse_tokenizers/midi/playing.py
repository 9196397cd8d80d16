"""Builds a score from played notes, and splits a score by instrument. Knows scores, but not ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from muse_tokenizers.errors import UnreadablePieceError

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["PlayedNote", "instrument_parts", "score_of_notes"]

PlayedNote = tuple[int, int, float, float]
"""MIDI pitch and velocity; times in seconds at which the key was pressed and released."""

_TICKS_PER_QUARTER = 480
_LATEST = 1_000_000.0
"""Largest time in seconds; MIDI ticks could not represent much more."""
_SHORTEST = 0.03
"""Shortest length of a note in seconds."""


def score_of_notes(notes: Sequence[PlayedNote], tempo: float = 120.0, program: int = 0) -> Score:
    """Return played notes as a score for one instrument, in 4/4; the first note begins the first bar.

    Args:
        notes: Notes in any order.
        tempo: Tempo in quarters per minute, from 20 to 300.
        program: General MIDI program, from 0 to 127.

    Raises:
        UnreadablePieceError: There is no note, or a note is invalid.
    """
    from symusic import Note, Score, Tempo, TimeSignature, Track

    if not notes:
        raise UnreadablePieceError("nothing was played: there are no notes")
    if not 20 <= tempo <= 300:
        raise UnreadablePieceError(f"the tempo is {tempo:g}; allowed: 20 to 300 quarters per minute")
    for pitch, velocity, down, up in notes:
        if not (0 <= pitch <= 127 and 1 <= velocity <= 127 and 0 <= down <= up <= _LATEST):
            raise UnreadablePieceError(
                f"a played note is {pitch}, {velocity}, {down:g}, {up:g}; allowed: a pitch from 0 to 127, a velocity "
                f"from 1 to 127, and two times up to {_LATEST:g} s, the second not before the first"
            )
    begin, per_second = min(note[2] for note in notes), tempo / 60 * _TICKS_PER_QUARTER
    score = Score(_TICKS_PER_QUARTER)
    score.tempos.append(Tempo(0, tempo))
    score.time_signatures.append(TimeSignature(0, 4, 4))
    track = Track(program=program, is_drum=False, name="played")
    for pitch, velocity, down, up in sorted(notes, key=lambda note: (note[2], note[0])):
        length = max(1, round(max(up - down, _SHORTEST) * per_second))
        track.notes.append(Note(round((down - begin) * per_second), length, pitch, velocity))
    score.tracks.append(track)
    return score


def instrument_parts(score: Score) -> list[tuple[str, Score]]:
    """Return each track with notes as a separate score with the tempos and metres of the whole, and its name."""
    parts = []
    for number, track in enumerate(score.tracks):
        if len(track.notes):
            part = score.copy()
            part.tracks = type(score.tracks)([track.copy()])
            name = "drums" if track.is_drum else f"program-{track.program}"
            parts.append((f"{number + 1}-{name}", part))
    return parts
