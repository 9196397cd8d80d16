"""Fuzzes soundfonts: each is played or refused in one line, and crashes only the child process that plays it.

    python benchmarks/fuzz_soundfonts.py --count 2000

Each takes half a second, for the start of that process.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from random import Random
from struct import pack

import numpy as np
from fuzzing import Files, Fuzz, change_bytes, main
from small_soundfonts import small_soundfont
from symusic import Note, Score, Track

from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.midi.synthesis import render_score

_INTERESTING = tuple(pack("<I", value) for value in (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1))
_RECORDS = 600
"""Size of the end of the file in bytes: presets, instruments and sample headers."""


@cache
def _seed() -> bytes:
    return small_soundfont()


def make(random: Random) -> Files:
    """Change a few bytes of the small soundfont, mostly indices and lengths."""
    whole = _seed()
    if random.random() < 0.8:
        return {"font.sf2": whole[:-_RECORDS] + change_bytes(random, whole[-_RECORDS:], _INTERESTING)}
    return {"font.sf2": change_bytes(random, whole, _INTERESTING)}


def attempt(files: Files, folder: Path) -> str:
    """Play two notes with it."""
    font = folder / "font.sf2"
    font.write_bytes(files["font.sf2"])
    score = Score(480)
    track = Track(program=0, is_drum=False, name="")
    track.notes.append(Note(0, 480, 60, 90))
    track.notes.append(Note(480, 480, 96, 60))
    score.tracks.append(track)
    try:
        samples = render_score(score, font).samples
    except UnreadablePieceError as error:
        message = str(error)
        if "\n" in message or str(font) not in message:
            raise AssertionError(f"message {message!r}") from error
        return message.replace(str(font), "FONT")
    if samples.shape[0] != 2 or not np.isfinite(samples).all() or not np.abs(samples).max(initial=0.0) <= 1.0:
        raise AssertionError(f"samples {samples.shape} up to {np.abs(samples).max(initial=0.0)}")
    return "played" if samples.shape[1] else "played, silent"


def make_fuzz(_: argparse.Namespace) -> Fuzz:
    """Build the fuzz target of the command line."""
    return Fuzz(name="soundfonts", make=make, attempt=attempt)


if __name__ == "__main__":
    sys.exit(main(make_fuzz, argparse.ArgumentParser(description=__doc__.splitlines()[0])))
