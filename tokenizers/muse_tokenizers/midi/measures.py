"""Measures of a segment of music.

Sources: MusPy (Dong et al. 2020, arXiv 2008.01951), Yang and Lerch 2018 (doi 10.1007/s00521-018-3849-7), Wu and Yang
2020 (arXiv 2008.01307), Gillick et al. 2019 (arXiv 1905.06118). A beat is a quarter; the grid has 24 steps per beat;
only bars that are completely inside the segment count. Undefined measures (a pitch if only drums play) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.measures import Histogram, Measure, Number
from muse_tokenizers.midi.labels import pitch_name
from muse_tokenizers.midi.loops import is_near_equal
from muse_tokenizers.midi.segments import DRUMS, GRID, Bar, Segment

__all__ = ["longest_silence", "measure_beats", "measure_notes"]

_PITCH_CLASSES = tuple(pitch_name(pitch)[:-1] for pitch in range(60, 72))
_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_LENGTHS = ("1/16", "1/12", "1/8", "1/6", "1/4", "3/8", "1/2", "3/4", "1", "3/2", "2", "3", "4", "6", "8")
"""Note lengths in beats, by factors of 1.5 and 4/3: the even ones are duple, the odd ones dotted or triplets."""
_DRUM_PITCHES = {
    "kick": (35, 36),
    "snare": (37, 38, 40),
    "closed hi-hat": (22, 42, 44),
    "open hi-hat": (26, 46),
    "low tom": (41, 43, 58),
    "middle tom": (45, 47),
    "high tom": (48, 50),
    "crash": (49, 52, 55, 57),
    "ride": (51, 53, 59),
}
"""Nine parts of a drum kit, as in Gillick et al. 2019, with the second kick and floor tom of General MIDI; the rest is
"other"."""
_LONGEST_PERIOD = 4
"""Longest period of a loop in bars."""
_LEAST_DENSITY = 0.1
"""Notes per second below which a segment counts as empty."""


def measure_notes(segment: Segment) -> dict[str, Measure]:
    """Measures that need notes and seconds, no beats.

    note_density: onsets a second, drums included. Compared by ratio, from 0.1 on.
    longest_silence: seconds of the longest part of the segment in which nothing sounds, drums and pedal included.
    pitch_classes: share of the onsets in each of the twelve pitch classes (Yang & Lerch 2018: PCH).
    pitch_class_entropy: -sum p log2 p of that, in bits (Wu & Yang 2020: H; MusPy).
    scale_consistency: share of the onsets in the major scale that has most of them (MusPy: scale_consistency; a natural
        minor scale has the pitches of a major one).
    mean_pitch: of the onsets, in semitones (MIDI numbers).
    pitch_range: highest less lowest, in semitones (Yang & Lerch 2018: PR; MusPy).
    polyphony: sounding notes, drums apart, as long as their keys are held, in the mean over the time at which any
        sounds (MusPy: polyphony). Compared by ratio.
    drums: share of the drum onsets on each part of the kit.
    """
    measures: dict[str, Measure] = {
        "note_density": Number(value=len(segment.pitch) / segment.seconds, unit="notes/s", floor=_LEAST_DENSITY),
        "longest_silence": Number(value=longest_silence(segment)[1], unit="s"),
    }
    pitches, hits = segment.pitch[segment.program != DRUMS], segment.pitch[segment.program == DRUMS]
    if len(pitches):
        shares = np.bincount(pitches % 12, minlength=12) / len(pitches)
        present = shares[shares > 0]
        in_scale = [shares[[(root + step) % 12 for step in _MAJOR]].sum() for root in range(12)]
        measures |= {
            "pitch_classes": Histogram(shares=shares, bins=_PITCH_CLASSES),
            "pitch_class_entropy": Number(value=float(-(present * np.log2(present)).sum()), unit="bits"),
            "scale_consistency": Number(value=float(max(in_scale)), unit=""),
            "mean_pitch": Number(value=float(pitches.mean()), unit="semitones"),
            "pitch_range": Number(value=float(pitches.max() - pitches.min()), unit="semitones"),
        }
    polyphony = _polyphony(segment)
    if polyphony is not None:
        measures["polyphony"] = Number(value=polyphony, unit="notes", floor=1.0)
    if len(hits):
        measures["drums"] = _drums(hits)
    return measures


def measure_beats(segment: Segment) -> dict[str, Measure]:
    """Measures that need beats or bars.

    note_lengths: share of the notes, drums apart, whose length in beats is nearest to each of fifteen, by ratio; the
        key's length, not the pedal's (Yang & Lerch 2018: NLH, with other bins).
    onset_grid: share of the onsets, drums included, on each of the 24 steps of a beat, counted from the bar line.
    empty_bars: share of the bars in which nothing begins (MusPy: empty_measure_rate).
    groove_consistency: one less the share of grid steps at which two bars in succession differ in whether anything
        begins there, in the mean over the pairs of bars of one length (MusPy: groove_consistency; Wu & Yang 2020: GS,
        over all pairs and 64 steps per bar).
    longest_loop: bars. The longest run of bars each of which is near-equal to the bar p before it, for one p from 1 to
        4, both in the segment; near-equal are bars of one length with the same (onset in the bar, pitch, program) of
        all notes but a tenth, as `repeats` counts them (`loops.is_near_equal`). So one bar that is played six times in
        all is a loop of five. A run in which nothing begins is none. `repeats` looks sixteen bars back, since it keeps
        what is written from ever looping; here a phrase of eight bars that comes again is form, and no loop.
    self_similarity: of two bars, notes they share by notes that either has (Jaccard), notes as (onset in the bar,
        pitch, program); of every bar with notes the highest with an earlier one; of these the mean.
    """
    measures: dict[str, Measure] = {}
    lengths = segment.length[segment.program != DRUMS]
    if len(lengths):
        nearest = np.rint(2 * np.log2(np.maximum(lengths, 1 / 16) * 16)).astype(np.int64)
        counts = np.bincount(np.minimum(nearest, len(_LENGTHS) - 1), minlength=len(_LENGTHS))
        measures["note_lengths"] = Histogram(shares=counts / counts.sum(), bins=_LENGTHS)
    if len(segment.pitch):
        counts = np.bincount(segment.step_in_bar % GRID, minlength=GRID)
        bins = tuple(f"{step}/{GRID}" for step in range(GRID))
        measures["onset_grid"] = Histogram(shares=counts / counts.sum(), bins=bins)
    if segment.bars:
        empty = sum(not bar.notes for bar in segment.bars) / len(segment.bars)
        measures["empty_bars"] = Number(value=empty, unit="")
        measures["longest_loop"] = Number(value=float(longest_loop(segment.bars)), unit="bars")
    for name, value in (
        ("groove_consistency", _groove_consistency(segment.bars)),
        ("self_similarity", _self_similarity(segment.bars)),
    ):
        if value is not None:
            measures[name] = Number(value=value, unit="")
    return measures


def longest_silence(segment: Segment) -> tuple[float, float]:
    """Return the beginning and the length in seconds of the longest silence in a segment."""
    spans = segment.sounding[np.argsort(segment.sounding[:, 0])]
    begins = np.append(spans[:, 0], segment.seconds)
    ended = np.concatenate(([0.0], np.maximum.accumulate(spans[:, 2])))
    gaps = np.maximum(begins - ended, 0.0)
    longest = int(gaps.argmax())
    return float(ended[longest]), float(gaps[longest])


def _polyphony(segment: Segment) -> float | None:
    spans = segment.sounding[~segment.sounding_drums]
    spans = spans[np.argsort(spans[:, 0])]
    total = float((spans[:, 1] - spans[:, 0]).sum())
    ended = np.concatenate(([0.0], np.maximum.accumulate(spans[:, 1])))
    # The part of each note that earlier notes do not cover.
    covered = float(np.maximum(spans[:, 1] - np.maximum(spans[:, 0], ended[:-1]), 0.0).sum())
    return total / covered if covered > 0 else None


def _drums(hits: NDArray[np.int64]) -> Histogram:
    parts = {pitch: number for number, pitches in enumerate(_DRUM_PITCHES.values()) for pitch in pitches}
    numbers = [parts.get(pitch, len(_DRUM_PITCHES)) for pitch in hits.tolist()]
    shares = np.bincount(numbers, minlength=len(_DRUM_PITCHES) + 1) / len(hits)
    return Histogram(shares=shares, bins=(*_DRUM_PITCHES, "other"))


def _groove_consistency(bars: Sequence[Bar]) -> float | None:
    found = []
    for before, bar in pairwise(bars):
        if before.steps == bar.steps and (before.notes or bar.notes):
            differing = {onset for onset, _, _ in before.notes} ^ {onset for onset, _, _ in bar.notes}
            found.append(1 - len(differing) / bar.steps)
    return float(np.mean(found)) if found else None


def longest_loop(bars: Sequence[Bar]) -> int:
    """Return the length of the longest loop in bars; see `measure_beats`."""
    longest = 0
    for period in range(1, _LONGEST_PERIOD + 1):
        run, has_notes = 0, False
        for before, bar in zip(bars, bars[period:], strict=False):
            run = run + 1 if before.steps == bar.steps and is_near_equal(before.notes, bar.notes) else 0
            has_notes = run > 0 and (has_notes or bool(bar.notes))
            if has_notes:
                longest = max(longest, run)
    return longest


def _self_similarity(bars: Sequence[Bar]) -> float | None:
    full = [bar.notes for bar in bars if bar.notes]
    best = [max(len(bar & earlier) / len(bar | earlier) for earlier in full[:i]) for i, bar in enumerate(full) if i]
    return float(np.mean(best)) if best else None
