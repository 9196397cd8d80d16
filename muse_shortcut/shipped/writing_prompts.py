"""The shipped prompts, note by note: public-domain music, written out here.

    python -m muse_shortcut.shipped.writing_prompts FOLDER

writes the three files of prompts/midi.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from muse_tokenizers.midi.writing import write_score

__all__ = ["write_prompts"]

QUARTER = 480
EIGHTH, SIXTEENTH, HALF, WHOLE = QUARTER // 2, QUARTER // 4, QUARTER * 2, QUARTER * 4
DOTTED_EIGHTH, DOTTED_QUARTER = EIGHTH + SIXTEENTH, QUARTER + EIGHTH

Line = list[tuple[int | None, int]]
"""Pairs of pitch (None for a rest) and length, one after another."""


def _track(program: int, name: str, notes: list[tuple[int, int, int, int]], *, is_drum: bool = False) -> Any:
    """Build a track from (tick, length, pitch, velocity)."""
    from symusic import Note, Track

    track = Track(program=program, is_drum=is_drum, name=name)
    for tick, length, pitch, velocity in sorted(notes):
        track.notes.append(Note(tick, length, pitch, velocity))
    return track


def _line(line: Line, velocity: int) -> list[tuple[int, int, int, int]]:
    notes, tick = [], 0
    for pitch, length in line:
        if pitch is not None:
            notes.append((tick, length, pitch, velocity))
        tick += length
    return notes


def _score(tempo: float, beats: int, unit: int, tracks: list[Any]) -> Any:
    from symusic import Score, Tempo, TimeSignature

    score = Score(QUARTER)
    score.tempos.append(Tempo(0, tempo))
    score.time_signatures.append(TimeSignature(0, beats, unit))
    for track in tracks:
        score.tracks.append(track)
    return score


def bach_prelude() -> Any:
    """J. S. Bach, The Well-Tempered Clavier I, Prelude in C major, BWV 846: bars 1 to 8."""
    chords = [
        (60, 64, 67, 72, 76),
        (60, 62, 69, 74, 77),
        (59, 62, 67, 74, 77),
        (60, 64, 67, 72, 76),
        (60, 64, 69, 76, 81),
        (60, 62, 66, 69, 74),
        (59, 62, 67, 74, 79),
        (59, 60, 64, 67, 72),
    ]
    notes = []
    for half_bar, chord in enumerate(chord for chord in chords for _ in range(2)):
        start = half_bar * HALF
        # The first two notes are held during the broken chord.
        notes.append((start, HALF, chord[0], 72))
        notes.append((start + SIXTEENTH, HALF - SIXTEENTH, chord[1], 66))
        for place, degree in enumerate((2, 3, 4, 2, 3, 4), start=2):
            notes.append((start + place * SIXTEENTH, SIXTEENTH, chord[degree], 62))
    return _score(72.0, 4, 4, [_track(0, "Piano", notes)])


def greensleeves() -> Any:
    """Traditional, 16th century: bars 1 to 8, flute over a guitar."""
    e, q, de, s, dq = EIGHTH, QUARTER, DOTTED_EIGHTH, SIXTEENTH, DOTTED_QUARTER
    first: Line = [(72, q), (74, e), (76, de), (77, s), (76, e), (74, q), (71, e), (67, de), (69, s), (71, e)]
    second: Line = [(72, q), (69, e), (69, de), (68, s), (69, e), (71, q), (68, e), (64, q), (69, e)]
    close: Line = [(72, de), (71, s), (69, e), (68, de), (66, s), (68, e), (69, dq), (69, dq)]
    a_minor, g_major, e_major = (45, 52, 57, 60, 57, 52), (43, 50, 55, 59, 55, 50), (40, 47, 52, 56, 52, 47)
    bars = [a_minor, g_major, a_minor, e_major, a_minor, g_major, (45, 52, 57, 40, 47, 56), (45, 52, 57, 60, 57, 52)]
    guitar: Line = [(pitch, EIGHTH) for bar in bars for pitch in bar]
    tracks = [
        _track(73, "Flute", _line(first + second + first + close, 88)),
        _track(24, "Guitar", _line(guitar, 64)),
    ]
    return _score(100.0, 6, 8, tracks)


def saints() -> Any:
    """When the Saints Go Marching In, traditional: bars 1 to 8, trumpet, bass and drums."""
    call: Line = [(None, QUARTER), (65, QUARTER), (69, QUARTER), (70, QUARTER)]
    melody: Line = [*call, (72, WHOLE), *call, (72, WHOLE), *call]
    melody += [(72, HALF), (69, HALF), (65, HALF), (69, HALF), (67, WHOLE)]
    bass: Line = [(pitch, QUARTER) for _ in range(7) for pitch in (41, 41, 36, 36)]
    bass += [(pitch, QUARTER) for pitch in (36, 36, 43, 43)]
    drums = []
    for beat in range(32):
        tick = beat * QUARTER
        drums.append((tick, EIGHTH, 36 if beat % 2 == 0 else 38, 90 if beat % 2 == 0 else 80))
        drums += [(tick, EIGHTH, 42, 64), (tick + EIGHTH, EIGHTH, 42, 52)]
    tracks = [
        _track(56, "Trumpet", _line(melody, 96)),
        _track(32, "Bass", _line(bass, 80)),
        _track(0, "Drums", drums, is_drum=True),
    ]
    return _score(160.0, 4, 4, tracks)


def write_prompts(folder: Path) -> None:
    """Write the three prompts into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, score in (("bach-prelude", bach_prelude()), ("greensleeves", greensleeves()), ("saints", saints())):
        write_score(score, folder / f"{name}.mid")


if __name__ == "__main__":
    write_prompts(Path(sys.argv[1]))
