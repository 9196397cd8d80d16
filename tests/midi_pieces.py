"""Scores made by hand, random ids, and slow decoders that share no code with the tested ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from symusic import ControlChange, Note, Pedal, Score, Tempo, TimeSignature, Track

from muse_tokenizers.base import Grammar, Ids
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.midi.tokenizer import MidiTokenizer

DRUMS = -1


@cache
def domain(name: str) -> MidiDomain:
    return MidiDomain.of(MidiTokenizer.of(CONFIGURATIONS[name]))


# Scores


def make_score(
    notes: dict[int, list[tuple[float, float, int, int]]],
    *,
    ticks_per_quarter: int = 480,
    tempos: Iterable[tuple[float, float]] = ((0, 120),),
    signatures: Iterable[tuple[float, int, int]] = ((0, 4, 4),),
    pedals: dict[int, list[tuple[float, float]]] | None = None,
    controls: dict[int, list[tuple[float, int, int]]] | None = None,
) -> Any:
    """Make a score from quarters: notes are (onset, length, pitch, velocity), by program; -1 is the drum kit."""

    def at(beats: float) -> int:
        return round(beats * ticks_per_quarter)

    score = Score(ticks_per_quarter)
    score.tempos.extend([Tempo(at(beat), tempo) for beat, tempo in tempos])
    score.time_signatures.extend([TimeSignature(at(beat), beats, unit) for beat, beats, unit in signatures])
    for program, played in notes.items():
        track = Track(program=max(program, 0), is_drum=program == DRUMS, name=f"program {program}")
        for onset, length, pitch, velocity in played:
            track.notes.append(Note(at(onset), at(onset + length) - at(onset), pitch, velocity))
        for down, up in (pedals or {}).get(program, []):
            track.pedals.append(Pedal(at(down), at(up) - at(down)))
        for beat, number, value in (controls or {}).get(program, []):
            track.controls.append(ControlChange(at(beat), number, value))
        score.tracks.append(track)
    return score


def scale(bars: int = 8, *, program: int = 0, **kwargs: Any) -> Any:
    """Return notes on every beat in common time, each three quarters of a beat long."""
    notes = [(beat, 0.75, 60 + (0, 2, 4, 5, 7, 9, 11)[beat % 7], 60 + beat % 32) for beat in range(4 * bars)]
    return make_score({program: notes}, **kwargs)


def band(ticks_per_quarter: int = 480) -> Any:
    """Return a score like real files: drums, pedals, tempo and metre changes, triplets, doubled tracks, empty notes."""
    third = Fraction(1, 3)
    piano = [(0, 2, 48, 70), (0, 2, 64, 71), (2, 2, 67, 90), (4, 0, 72, 80), (4 + third, third, 74, 80)]
    piano += [(4 + 2 * third, third, 76, 80), (5, 3, 60, 64), (6.5, 0.25, 64, 64), (30, 6, 62, 50)]
    # In 12/16 from beat 8, 2/2 from 14, 6/8 from 22, 3/4 from 28.
    piano += [(8 + 0.75 * i, 0.25, 55 + i, 70) for i in range(8)] + [(14 + 2 * i, 2, 50 + i, 60) for i in range(4)]
    piano += [(22 + 1.5 * i + 0.5 * j, 0.5, 70 + 3 * i + j, 75) for i in range(4) for j in range(3)]
    violins = [(0, 3, 76, 80), (2, 3, 79, 80), (5, 1, 76, 60), (28, 3, 81, 100)]
    # The second desk doubles the first: the same pitches at once, and overlapping.
    desk = [(0, 2, 76, 70), (1, 2, 79, 70), (28, 1, 81, 90), (40, 1, 0, 1), (41, 1, 127, 127)]
    drums = [(beat / 2, 0.25, (36, 42, 38, 42)[beat % 4], 100 - beat % 3) for beat in range(16)]
    drums += [(28, 0, 49, 127), (31, 0.1, 36, 127)]
    score = make_score(
        {0: piano, 40: violins, DRUMS: drums},
        ticks_per_quarter=ticks_per_quarter,
        tempos=[(0, 120), (4, 96), (8, 200), (14, 61.5), (14.5, 60), (28, 120)],
        signatures=[(0, 4, 4), (8, 12, 16), (14, 2, 2), (22, 6, 8), (28, 3, 4)],
        pedals={0: [(0, 1.9), (2, 3.9), (4, 4.01), (29, 36)], 40: [(0.5, 5)]},
    )
    second = make_score({40: desk}, ticks_per_quarter=ticks_per_quarter, pedals={40: [(1, 6), (28, 28)]})
    score.tracks.append(second.tracks[0])
    return score


def program_of(track: Any) -> int:
    return DRUMS if track.is_drum else int(track.program)


def note_rows(score: Any) -> list[tuple[int, int, int, int, int]]:
    """(program, onset, length, pitch, velocity) of every note, in ticks, sorted."""
    return sorted(
        (program_of(track), note.time, note.duration, note.pitch, note.velocity)
        for track in score.tracks
        for note in track.notes
    )


def pedal_rows(score: Any) -> list[tuple[int, int, int]]:
    """(program, down, up) of every pedal, in ticks, sorted."""
    return sorted((program_of(track), pedal.time, pedal.end) for track in score.tracks for pedal in track.pedals)


def control_rows(score: Any) -> list[tuple[int, int, int, int]]:
    """(program, tick, number, value) of every controller, in the order of the file within each program."""
    rows = [
        (program_of(track), control.time, control.number, control.value)
        for track in score.tracks
        for control in track.controls
    ]
    return sorted(rows, key=lambda row: row[0])


def tempo_rows(score: Any) -> list[tuple[int, int]]:
    """(tick, microseconds per quarter)."""
    return [(tempo.time, tempo.mspq) for tempo in score.tempos]


def signature_rows(score: Any) -> list[tuple[int, int, int]]:
    return [(item.time, item.numerator, item.denominator) for item in score.time_signatures]


def seconds_at(score: Any, tick: int) -> Fraction:
    """Return the exact time of a tick under the tempos of a score."""
    elapsed, since, microseconds = Fraction(0), 0, 500_000
    for time, mspq in tempo_rows(score):
        if time >= tick:
            break
        elapsed += Fraction((time - since) * microseconds, 1_000_000 * score.ticks_per_quarter)
        since, microseconds = time, mspq
    return elapsed + Fraction((tick - since) * microseconds, 1_000_000 * score.ticks_per_quarter)


# Ids


def draw(
    grammar: Grammar, steps: int, seed: int, kind_of: np.ndarray[Any, Any] | None = None, spread: float = 0.0
) -> Ids:
    """(C, T, K) ids from uniform random logits under a grammar; as many steps, or until every candidate is finished.

    With `kind_of` (V,) each candidate likes some kinds better than others, by as much as `spread`: else a kind of few
    ids, such as the bar, comes too rarely for anything to happen over many of them.
    """
    random = np.random.default_rng(seed)
    taste, drawn = None, []
    for _ in range(steps):
        allowed = grammar.allowed()
        assert allowed.any(axis=-1).all(), "a dead end"
        logits = random.random(allowed.shape)
        if kind_of is not None:
            if taste is None:
                taste = spread * random.standard_normal((len(logits), int(kind_of.max()) + 1))
            logits += taste[:, None, kind_of]
        ids = np.where(allowed, logits, -np.inf).argmax(axis=-1)
        grammar.advance(ids)
        drawn.append(ids)
        if grammar.finished.all():
            break
    return np.stack(drawn, axis=1)


def grow(
    grammar: Grammar, steps: int, seed: int, kind_of: np.ndarray[Any, Any] | None = None, spread: float = 0.0
) -> list[Ids]:
    """Call `draw`, and truncate each candidate after its last complete step, as generation does."""
    whole: list[np.ndarray[Any, Any]] = []

    class Watched(Grammar):
        finished = grammar.finished

        def allowed(self) -> np.ndarray[Any, Any]:
            return grammar.allowed()

        def advance(self, ids: Ids) -> None:
            was_finished = grammar.finished.copy()
            grammar.advance(ids)
            whole.append(grammar.complete & ~was_finished)
            self.finished = grammar.finished

    drawn = draw(Watched(), steps, seed, kind_of, spread)
    lengths = [max((step + 1 for step, now in enumerate(whole) if now[one]), default=0) for one in range(len(drawn))]
    return [ids[:length] for ids, length in zip(drawn, lengths, strict=True)]


def kinds(midi: MidiDomain) -> np.ndarray[Any, Any]:
    """Return (V,) the number of the kind of each id."""
    names = [name.split("_")[0] for name in midi.tokenizer.vocabulary()]
    order = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([order[name] for name in names])


def names(midi: MidiDomain, ids: Ids) -> list[str]:
    """Return the names of (T, 1) ids, without the special ones."""
    vocabulary = midi.tokenizer.vocabulary()
    return [vocabulary[i] for i in ids[:, 0] if not vocabulary[i].startswith(("PAD", "BOS", "EOS"))]


@dataclass
class Reading:
    """The result of a slow decoder."""

    ticks_per_quarter: int
    notes: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """(program, onset, length, pitch, velocity), as in `note_rows`, in the order of the ids."""
    bars: list[tuple[int, int, int]] = field(default_factory=list)
    """(tick, beats, unit) of every bar."""
    tempos: list[tuple[int, float]] = field(default_factory=list)
    presses: list[tuple[int, int, int | None]] = field(default_factory=list)
    """(program, down, up); None if the pedal is still down at the end."""
    parts: list[int] = field(default_factory=list)
    """The part of each note, of scores in parts."""


def read_remi(tokens: list[str]) -> Reading:
    """Decode REMI by its definition, in 48ths of a quarter. Raises AssertionError if a rule is broken."""
    found = Reading(48)
    sounding: dict[tuple[int, int], int] = {}
    down: dict[int, int] = {}
    bar_length = beat = position = 0
    now, program, index = 0, None, 0
    while index < len(tokens):
        kind, value = tokens[index].split("_")
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        if kind == "Bar":
            start = found.bars[-1][0] + bar_length if found.bars else 0
            if after is None:
                break
            assert after.startswith("TimeSig"), "a bar has a time signature"
            beats, unit = (int(number) for number in after.removeprefix("TimeSig_").split("/"))
            beat = 48 * 4 // unit
            bar_length, now, position, index = beats * beat, start, -1, index + 1
            found.bars.append((start, beats, unit))
        elif kind == "Position":
            assert int(value) > position, "time does not run back in a bar"
            position = int(value)
            now = found.bars[-1][0] + position * beat // 24
            assert now < found.bars[-1][0] + bar_length, "a position lies in its bar"
        elif kind == "Tempo":
            assert not found.tempos or found.tempos[-1][0] < now, "one tempo at a time"
            found.tempos.append((now, float(value)))
        elif kind == "Pedal":
            assert int(value) not in down, "a pedal is pressed when up"
            down[int(value)] = now
        elif kind == "PedalOff":
            assert int(value) in down, "a pedal is released when down"
            assert down[int(value)] < now, "a pedal that is pressed is down for a while"
            found.presses.append((int(value), down.pop(int(value)), now))
        elif kind == "Program":
            assert program != int(value), "a program token changes the program"
            assert after is None or after.startswith("Pitch"), "a program token brings a note"
            program = int(value)
        else:
            assert kind in ("Pitch", "PitchDrum"), f"{kind} belongs to a note"
            assert program is not None, "a note has an instrument"
            assert (program == DRUMS) == (kind == "PitchDrum"), "drum pitches belong to the drum kit"
            assert position >= 0, "a note has a position"
            if index + 2 >= len(tokens):
                break
            assert after is not None
            assert after.startswith("Velocity")
            assert tokens[index + 2].startswith("Duration")
            whole, part, bins = (int(number) for number in tokens[index + 2].removeprefix("Duration_").split("."))
            length, pitch = (whole * bins + part) * beat // bins, int(value)
            assert length > 0
            assert sounding.get((program, pitch), 0) <= now, "a sounding pitch is not struck again"
            sounding[program, pitch] = now + length
            found.notes.append((program, now, length, pitch, int(after.removeprefix("Velocity_"))))
            index += 2
        index += 1
    found.presses += [(program, pressed, None) for program, pressed in down.items()]
    return found


def read_performance(tokens: list[str]) -> Reading:
    """Decode a performance by its definition, in ticks of 10 ms; notes without an end last half a second."""
    found = Reading(50, tempos=[(0, 120.0)])
    sounding: dict[int, tuple[int, int]] = {}
    now, index = 0, 0
    while index < len(tokens):
        kind, value = tokens[index].split("_")
        if kind == "TimeShift":
            whole, part, bins = (int(number) for number in value.split("."))
            assert bins == 50
            assert 1 <= 50 * whole + part <= 100
            now += 50 * whole + part
        elif kind == "NoteOn":
            assert int(value) not in sounding, "a sounding pitch is not struck again"
            if index + 1 == len(tokens):
                break
            assert tokens[index + 1].startswith("Velocity"), "a note on brings a velocity"
            sounding[int(value)] = (now, int(tokens[index + 1].removeprefix("Velocity_")))
            index += 1
        else:
            assert kind == "NoteOff", f"{kind} belongs to a note"
            assert int(value) in sounding, "a note that ends has begun"
            onset, velocity = sounding.pop(int(value))
            assert onset < now, "a note ends later than it begins"
            found.notes.append((0, onset, now - onset, int(value), velocity))
        index += 1
    found.notes += [(0, onset, now + 50 - onset, pitch, velocity) for pitch, (onset, velocity) in sounding.items()]
    return found


def grammar_of(
    name: str, candidates: int = 1, constraints: MidiConstraints | None = None, prompt: Ids | None = None
) -> Grammar:
    midi = domain(name)
    return midi.grammar(midi.prompt(None).ids if prompt is None else prompt, candidates, constraints)
