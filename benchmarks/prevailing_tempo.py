"""Compares rules for the prevailing tempo of a prompt with the tempo of its true continuation.

    python benchmarks/prevailing_tempo.py FOLDER [FOLDER ...] [--pieces 90]

Pieces with tempo changes are cut at 25 random times each. The tempos of several rules are compared with the median
tempo of the 20 s after the split point; `pace` is the rule of continuations (`muse_tokenizers.midi.clock`). Errors are
means over the split points at which the last tempo and the median of 16 s differ.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.midi.clock import pace_of
from muse_tokenizers.midi.reading import read_score
from muse_tokenizers.midi.tempo_map import TempoMap

BEFORE, AFTER = 20.0, 20.0
CUTS = 25
RULES = ("last", "8 s", "16 s", "32 s", "all", "pace")


class Tempos:
    """The tempos of a score in order."""

    def __init__(self, path: Path) -> None:
        self.score = read_score(path, warn=lambda _: None)
        self.map, end = TempoMap(self.score), self.score.end()
        changes = self.score.tempos.numpy()["time"].astype(np.int64)
        edges = np.unique(np.concatenate(([0], changes[(changes > 0) & (changes < end)], [end])))
        self.at = self.map.seconds(edges)
        self.bpm = 60 * np.diff(edges) / self.score.ticks_per_quarter / np.maximum(np.diff(self.at), 1e-9)

    def median(self, start: float, end: float) -> float:
        """Return the median by time of a segment in seconds."""
        weights = np.maximum(np.minimum(self.at[1:], end) - np.maximum(self.at[:-1], start), 0.0)
        order = np.argsort(self.bpm)
        reached = np.cumsum(weights[order])
        return float(self.bpm[order][np.searchsorted(reached, reached[-1] / 2)])

    def estimates(self, split_point: float) -> list[float]:
        """Return the tempo of each rule at a split point."""
        last = float(self.bpm[max(int(np.searchsorted(self.at, split_point)) - 1, 0)])
        medians = [
            self.median(max(0.0, split_point - seconds), split_point) for seconds in (8.0, 16.0, 32.0, split_point)
        ]
        return [last, *medians, pace_of(self.score, round(float(self.map.ticks(split_point)))).prevailing]


def main() -> None:
    """Print the mean error of each rule for each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--pieces", type=int, default=90, help="of each folder, chosen at random")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        chance, errors, pieces = random.Random(0), list[list[float]](), 0
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi"))
        chance.shuffle(paths)
        for path in paths:
            if pieces == arguments.pieces:
                break
            try:
                tempos = Tempos(path)
            except UnreadablePieceError:
                continue
            length = float(tempos.at[-1])
            if len(tempos.bpm) < 4 or length < BEFORE + AFTER + 10:
                continue
            pieces += 1
            for split_point in (chance.uniform(BEFORE, length - AFTER) for _ in range(CUTS)):
                estimates, true = tempos.estimates(split_point), tempos.median(split_point, split_point + AFTER)
                if estimates[0] != estimates[2]:
                    errors.append([abs(np.log2(bpm / true)) for bpm in estimates])
        if errors:
            means = 100 * (2 ** np.mean(errors, axis=0) - 1)
            named = ", ".join(f"{rule} {mean:.1f} %" for rule, mean in zip(RULES, means, strict=True))
            print(f"{folder.name}: {named}; {len(errors)} cuts in {pieces} pieces", flush=True)


if __name__ == "__main__":
    main()
