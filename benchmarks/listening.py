"""Continues pieces with two models, beside what truly follows, as small MIDI files to listen to.

    python benchmarks/listening.py OUT OLD NEW song=FILE quartet=FILE ...

Writes OUT/NAME-true.mid, OUT/NAME-old.mid and OUT/NAME-new.mid: each begins with the same prompt of 20 s.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import muse_shortcut as muse

PROMPT, LENGTH, SEED = 20.0, 30.0, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("old", help="a checkpoint")
    parser.add_argument("new", help="a checkpoint")
    parser.add_argument("pieces", nargs="+", metavar="NAME=FILE")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = {"old": muse.load(arguments.old), "new": muse.load(arguments.new)}
    for piece in arguments.pieces:
        name, _, path = piece.partition("=")
        for label, model in models.items():
            [continuation] = model.continue_(path, prompt_seconds=PROMPT, seconds=LENGTH, seed=SEED, trace=False)
            continuation.save(arguments.out / f"{name}-{label}.mid")
        true = beginning(models["new"], path, PROMPT + LENGTH)
        models["new"].domain.write(true, arguments.out / f"{name}-true.mid")


def beginning(model: muse.Model, path: str, seconds: float) -> Any:
    """Return the beginning of a piece, up to the last bar line before a time."""
    piece = model.domain.prompt(model.domain.read(path), seconds).piece
    assert piece is not None
    return piece


if __name__ == "__main__":
    main()
