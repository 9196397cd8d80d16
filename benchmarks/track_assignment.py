"""Measures how often new notes of two-handed piano music are assigned to the right hand or left hand that plays them.

    python benchmarks/track_assignment.py FOLDER [FOLDER ...] [--pieces 40] [--generate 10]

The true notes of the 30 s after a split point at 15 s are divided between the two tracks by the notes before the split
point. With `--generate`, the given number of pieces are also continued by the shipped model, and the share of new notes
in the first track is compared with that of the true ones.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import muse_shortcut as muse
from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.midi.reading import read_score
from muse_tokenizers.midi.tempo_map import TempoMap
from muse_tokenizers.midi.track_assignment import TrackLine, assign_tracks

CUT, END = 15.0, 45.0
SECONDS = 10.0
"""Seconds of new music."""
LEAST_NOTES = 20


def two_hands(path: Path) -> Any:
    """Return the score; None if it is not piano music in two tracks, or is too short before or after the split
    point."""
    try:
        score = read_score(path, warn=lambda _: None)
    except UnreadablePieceError:
        return None
    tracks = [track for track in score.tracks if len(track.notes)]
    if len(tracks) != 2 or any(track.is_drum or track.program > 7 for track in tracks):
        return None
    before, after = split(score)
    enough = all(len(track.notes) > LEAST_NOTES for track in tracks) and all(before) and len(after) >= LEAST_NOTES
    return score if enough else None


def split(score: Any) -> tuple[list[list[Any]], list[tuple[Any, int]]]:
    """Return the notes of each hand before the split point, and the notes after it with the number of their hand, in
    the order in which they are assigned."""
    split_point, end = (float(TempoMap(score).ticks(seconds)) for seconds in (CUT, END))
    hands = [track.notes for track in score.tracks if len(track.notes)]
    after = [(note, number) for number, notes in enumerate(hands) for note in notes if split_point <= note.time < end]
    after.sort(key=lambda pair: (pair[0].time, pair[0].pitch, pair[1]))
    return [[note for note in notes if note.time < split_point] for notes in hands], after


def right_ones(score: Any) -> tuple[int, int]:
    """Return the number of notes in their true track, and of all notes."""
    before, after = split(score)
    given = assign_tracks([TrackLine.of(notes) for notes in before], [note for note, _ in after])
    return sum(found == true for found, (_, true) in zip(given, after, strict=True)), len(after)


def first_hand_share(score: Any, start: float, end: float) -> float | None:
    """Return the share of the notes that begin in [start, end) seconds that are in the first track; None if there are
    none."""
    first, last = (float(TempoMap(score).ticks(seconds - 0.002)) for seconds in (start, end))
    hands = [sum(first <= note.time < last for note in track.notes) for track in score.tracks if len(track.notes)]
    return hands[0] / sum(hands) if sum(hands) else None


def main() -> None:
    """Print the shares of each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--pieces", type=int, default=40, help="of each folder, chosen at random")
    parser.add_argument("--generate", type=int, default=0, help="of these, how many are also continued")
    arguments = parser.parse_args()
    model = muse.load("midi") if arguments.generate else None
    for folder in arguments.folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix in (".mid", ".midi"))
        random.Random(0).shuffle(paths)
        scores: list[Any] = []
        for path in paths:
            if len(scores) == arguments.pieces:
                break
            score = two_hands(path)
            if score is not None:
                scores.append(score)
        if not scores:
            print(f"{folder.name}: no piano music in two tracks")
            continue
        found = [right_ones(score) for score in scores]
        right, notes = (sum(column) for column in zip(*found, strict=True))
        worst = ", ".join(f"{a / b:.2f}" for a, b in sorted(found, key=lambda pair: pair[0] / pair[1])[:5])
        print(f"{folder.name}: {right / notes:.3f} of {notes} notes in {len(found)} pieces; worst {worst}")
        for score in scores[: arguments.generate] if model else []:
            assert model is not None
            (made,) = model.continue_(score, prompt_seconds=CUT, seconds=SECONDS, seed=1, trace=False)
            shares = (first_hand_share(one, made.start, made.start + SECONDS) for one in (made.piece, score))
            print("  in the first track:", *("-" if share is None else f"{share:.2f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
