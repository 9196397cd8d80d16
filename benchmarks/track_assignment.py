"""How often new notes of two-handed piano music go to the hand that truly plays them.

    python benchmarks/track_assignment.py FOLDER [FOLDER ...] [--pieces 40]

The true notes of 30 s after a cut at 15 s are divided between the two tracks from the notes before the cut alone.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from muse_tokenizers.errors import UnreadablePiece
from muse_tokenizers.midi.scores import read_score
from muse_tokenizers.midi.tempo_map import TempoMap
from muse_tokenizers.midi.track_assignment import TrackLine, assign_tracks

CUT, END = 15.0, 45.0
LEAST_NOTES = 20


def share_of(path: Path) -> tuple[int, int] | None:
    """Notes in their true track, and all; None for what is no piano music in two tracks."""
    try:
        score = read_score(path)
    except UnreadablePiece:
        return None
    tracks = [track for track in score.tracks if len(track.notes) > LEAST_NOTES]
    if len(tracks) != 2 or any(track.is_drum or track.program > 7 for track in tracks):
        return None
    cut, end = (float(TempoMap(score).ticks(seconds)) for seconds in (CUT, END))
    before = [[note for note in track.notes if note.time < cut] for track in tracks]
    after = [(note, number) for number, track in enumerate(tracks) for note in track.notes if cut <= note.time < end]
    if not all(before) or len(after) < LEAST_NOTES:
        return None
    after.sort(key=lambda pair: (pair[0].time, pair[0].pitch, pair[1]))
    given = assign_tracks([TrackLine.of(notes) for notes in before], [note for note, _ in after])
    return sum(found == true for found, (_, true) in zip(given, after, strict=True)), len(after)


def main() -> None:
    """Print the share of each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--pieces", type=int, default=40, help="of each folder, chosen at random")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix in (".mid", ".midi"))
        random.Random(0).shuffle(paths)
        found: list[tuple[int, int]] = []
        for path in paths:
            if len(found) == arguments.pieces:
                break
            share = share_of(path)
            if share is not None:
                found.append(share)
        right, notes = (sum(column) for column in zip(*found, strict=True))
        worst = ", ".join(f"{a / b:.2f}" for a, b in sorted(found, key=lambda pair: pair[0] / pair[1])[:5])
        print(f"{folder.name}: {right / notes:.3f} of {notes} notes in {len(found)} pieces; worst {worst}")


if __name__ == "__main__":
    main()
