"""Fuzzes MIDI files: read, encode, decode, continue, join, write, and read again.

    python benchmarks/fuzz_midi.py --count 1000000 --jobs 2 --out output/fuzz/midi

A refusal by the reader is a valid outcome; any other exception, more than ten seconds, a growth of more than 300 MiB,
or a note that is lost in writing is a finding. The continuation consists of random ids that the grammar allows, in one
of the two vocabularies.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import numpy as np
from fuzzing import Files, Fuzz, change_bytes, main

from muse_tokenizers.base import Ids
from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.midi.reading import MAXIMUM_SECONDS
from muse_tokenizers.midi.tokenizer import MidiTokenizer

__all__ = ["fuzz_midi"]

FORMS = ("remi", "performance")
_STEPS = 16
"""Number of ids of a continuation."""
_LARGEST = 30_000
"""Largest size of a file of a corpus in bytes."""

_END = b"\x00\xff\x2f\x00"
_META = tuple(
    b"\x00\xff" + data
    for data in (
        b"\x51\x03\x00\x00\x00", b"\x51\x03\x00\x00\x01", b"\x51\x03\xff\xff\xff", b"\x51\x03\x0f\x42\x40",
        b"\x51\x02\x07\xa1", b"\x58\x04\x03\x02\x18\x08", b"\x58\x04\x00\x02\x18\x08", b"\x58\x04\xff\x00\x18\x08",
        b"\x58\x04\x01\x06\x18\x08",
        b"\x58\x04\x05\x04\x18\x08", b"\x58\x04\x07\x03\x18\x08", b"\x58\x04\x01\x1f\x18\x08", b"\x58\x02\x04\x02",
        b"\x59\x02\x03\x01", b"\x59\x02\xf9\x00", b"\x59\x02\x0b\x00", b"\x59\x02\x00\x07", b"\x59\x01\x00",
        b"\x2f\x00", b"\x21\x01\x01", b"\x03\x03\xff\xfe\x00", b"\x05\x02la", b"\x06\x02\xc3\xa9", b"\x7f\x03abc",
    )
)  # fmt: skip
_MESSAGES = (
    b"\x00\xb0\x7b\x00", b"\x00\xb0\x78\x00", b"\x00\xb0\x79\x00", b"\x00\xb0\x40\x7f", b"\x00\xb0\x40\x00",
    b"\x00\xb0\x00\x01", b"\x00\xb0\x07\x50", b"\x00\xc0\x28", b"\x00\xc9\x10", b"\x00\xe0\x00\x50",
    b"\x00\x90\x3c\x40",
    b"\x00\x80\x3c\x40", b"\x00\x99\x24\x7f", b"\x00\xf0\x05\x7e\x7f\x09\x01\xf7", b"\x00\xf7\x02\xf3\x01", b"\x00\xfe",
    b"\x00\xf2\x01\x02", b"\x00\xd0\x10", b"\x00\xa0\x3c\x10",
)  # fmt: skip
_PLACES = (
    b"MTrk", b"MThd", b"MTrk\x00\x00\x00\x04", b"\xff\xff\xff\x7f", b"\xff\xff\x7f", b"\x81\x80\x80\x00", b"\x87\x40",
    b"\x00\x00\x00\x06\x00\x02", b"\x00\x01\x7f\xff", b"\x00\x01\xe7\x28", b"\xe3\x0a", b"\x00\x00\x00\x00",
)  # fmt: skip
_INTERESTING = (*_META, *_MESSAGES, *_PLACES)


def fuzz_midi(corpus: Path | None = None) -> Fuzz:
    """Return the fuzz target of MIDI files; with a corpus, its smaller files are seeds too."""
    seeds = list(_seeds())
    if corpus:
        files = sorted(path for path in corpus.rglob("*") if path.suffix.lower() in MidiDomain.suffixes)
        seeds += [path.read_bytes() for path in files if path.stat().st_size <= _LARGEST]

    def make(random: Random) -> Files:
        return {"input.mid": change_bytes(random, random.choice(seeds), _INTERESTING)}

    return Fuzz(name="midi", make=make, attempt=attempt, keeps_folder=True)


@cache
def _domain(form: str) -> MidiDomain:
    return MidiDomain.of(MidiTokenizer.of(CONFIGURATIONS[form]))


def attempt(files: Files, folder: Path) -> str:
    """Process a MIDI file in all ways."""
    data = files["input.mid"]
    random = Random(crc32(data))
    lines: list[str] = []
    try:
        score = _domain("remi").loads(data, "it", warn=lines.append)
    except UnreadablePieceError as error:
        _check_line(str(error))
        return "refused"
    for line in lines:
        _check_line(line)
    midi = _domain(random.choice(FORMS))
    try:
        ids = midi.tokenizer.encode(score)
    except UnreadablePieceError as error:
        _check_line(str(error))
        return "drums alone"
    midi.tokenizer.decode(ids)
    if not _continue(midi, score, ids, random):
        return "too long once continued"
    return "repaired" if lines else "read"


def _continue(midi: MidiDomain, score: Any, ids: Ids, random: Random) -> bool:
    """Continue a piece; false if the result is longer than a readable file (a note held for hours, at 20 BPM)."""
    length = random.choice((0.5, 1.0, 2.0))
    prompt = midi.prompt(score, length)
    added = _grow(midi, prompt.ids, random)
    joined = midi.join(prompt, added)
    try:
        again = midi.loads(midi.dumps(joined), "again", warn=_ignore)
    except UnreadablePieceError:
        if midi.duration(joined) > MAXIMUM_SECONDS:
            return False
        raise
    if again.note_num() != joined.note_num():
        raise AssertionError(f"{joined.note_num()} notes written, {again.note_num()} read")
    if random.random() < 0.1:
        midi.tokenizer.describe(np.concatenate([prompt.ids, added]))
        midi.measure(score, 0.0, length)
        midi.measure(joined, prompt.split_point, prompt.split_point + 1.0)
        midi.copy_units(ids, 0.0, length)
    return True


def _grow(midi: MidiDomain, prompt: Ids, random: Random) -> Ids:
    """Generate random ids after a prompt, up to the last point at which the piece is complete."""
    grammar = midi.grammar(prompt, 1, midi.default_constraints())
    grown: list[Ids] = []
    whole = 0
    for step in range(_STEPS):
        allowed = np.flatnonzero(grammar.allowed()[0, 0])
        # Kinds with few ids, such as bars, would otherwise be rare.
        taken = allowed[0] if random.random() < 0.15 else random.choice(allowed.tolist())
        grown.append(np.array([[taken]], dtype=np.int64))
        grammar.advance(grown[-1])
        if grammar.finished[0]:
            break
        if grammar.complete[0]:
            whole = step + 1
    return np.concatenate([np.zeros((0, 1), dtype=np.int64), *grown[:whole]])


def _check_line(text: str) -> None:
    if not text or "\n" in text or len(text) > 400:
        raise AssertionError(f"not one line: {text!r}")


def _ignore(line: str) -> None:
    """Written files should need no repairs, except for overlapping notes, which are counted."""


# Small files with all features


def _seeds() -> tuple[bytes, ...]:
    return (
        _file(_conductor(), _scale(0, 60, 8)),
        _file(_conductor(), _scale(0, 72, 5), _scale(0, 48, 5), _pedals(0)),
        _file(_conductor(), b"\x00\xc0\x28\x00\xc1\x20" + _END, _scale(0, 60, 6), _scale(1, 40, 6), _drums(8)),
        _file(_conductor() + _scale(0, 60, 6) + _drums(4), form=0),
        _file(_conductor() + _scale(0, 60, 4), _conductor() + _scale(0, 67, 4), form=2),
        _file(_scale(0, 60, 8), division=0xE728),
        _file(*(b"\x00" + bytes((0xC0 | n % 16, 7 * n)) + _scale(n % 16, 60, 2) for n in range(18)), division=96),
        _file(_conductor(), _scale(0, 60, 4, closed=False), _scale(3, 50, 4, closed=False)),
        _file(_drums(8), division=24),
        b"RIFF\x00\x00\x00\x00RMIDdata\x00\x00\x00\x00" + _file(_conductor(), _scale(0, 60, 4)),
        _file(_conductor() + b"".join(_META[5:8]) + b"\x00\xf0\x05\x7e\x7f\x09\x01\xf7" + _scale(0, 60, 4), division=1),
        _file(_conductor(), _scale(0, 60, 6, running=True), division=32767),
    )


def _file(*tracks: bytes, form: int = 1, division: int = 480) -> bytes:
    tracks = tuple(track if track.endswith(_END) else track + _END for track in tracks)
    head = b"MThd" + b"".join(n.to_bytes(size) for n, size in ((6, 4), (form, 2), (len(tracks), 2), (division, 2)))
    return head + b"".join(b"MTrk" + len(track).to_bytes(4) + track for track in tracks)


def _conductor() -> bytes:
    return b"\x00\xff\x51\x03\x09\x27\xc0\x00\xff\x58\x04\x03\x02\x18\x08\x00\xff\x59\x02\xfd\x01\x00\xff\x03\x04Name"


def _scale(channel: int, pitch: int, count: int, *, closed: bool = True, running: bool = False) -> bytes:
    found = b""
    for step in range(count):
        on = bytes((0x90 | channel, pitch + 2 * step, 64 + step))
        found += b"\x00" + (on[1:] if running and step else on)
        if running:
            found += b"\x83\x60" + bytes((pitch + 2 * step, 0))
        elif closed:
            found += b"\x83\x60" + bytes((0x80 | channel, pitch + 2 * step, 64))
        else:
            found += b"\x83\x60" + bytes((0xB0 | channel, 7, 90))
    return found


def _pedals(channel: int) -> bytes:
    return b"".join(b"\x81\x70" + bytes((0xB0 | channel, 64, value)) for value in (127, 0, 90, 20, 64, 0))


def _drums(count: int) -> bytes:
    return b"".join(
        b"\x00\x99" + bytes((36 + hit % 7, 100)) + b"\x81\x70\x89" + bytes((36 + hit % 7, 0)) for hit in range(count)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Try mutated MIDI files.")
    parser.add_argument("--corpus", type=Path, help="a folder whose smaller MIDI files are mutated too")
    sys.exit(main(lambda arguments: fuzz_midi(arguments.corpus), parser))
