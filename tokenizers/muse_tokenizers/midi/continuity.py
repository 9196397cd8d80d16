"""Features of a segment of music and its prompt, by which continuations are compared.

Each feature is a number or a distribution of one segment, measured in seconds and notes, so that it does not depend on
a vocabulary or on tokenization. Sources: Krumhansl and Kessler 1982 (key profiles), Yang and Lerch 2018 (doi
10.1007/s00521-018-3849-7; inter-onset and pitch-class histograms).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.note_table import PARTS_PER_PROGRAM, NoteTable

__all__ = ["FEATURES", "Feature", "Value", "difference", "feature_vector", "features", "krumhansl_key"]

Value = float | NDArray[np.float64]
"""A number, or (N,) shares that sum to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """A feature of a segment, and how it is compared between segments."""

    name: str
    unit: str
    compare: Literal["difference", "log ratio", "shared", "none"]
    """Distance from the true segment: |x - y|; |ln x/y|; 1 minus the overlap of the histograms; or none, if the feature
    already relates the segment to its prompt."""
    of: Callable[[NoteTable, NoteTable, float], Value | None]
    """(segment, prompt, seconds of the segment) -> value; None if it is undefined."""


def features(segment: NoteTable, prompt: NoteTable, seconds: float) -> dict[str, Value]:
    """Compute all features of a segment; undefined ones are left out.

    Args:
        segment: Notes of the segment, from 0.
        prompt: Notes before it, from 0.
        seconds: Length of the segment in seconds.
    """
    found = {feature.name: feature.of(segment, prompt, seconds) for feature in FEATURES}
    return {name: value for name, value in found.items() if value is not None}


def difference(feature: Feature, one: Value, other: Value) -> float:
    """Return the distance between two values of a feature, by its `compare`; 0 means equal."""
    if feature.compare == "shared":
        return float(1 - np.minimum(one, other).sum())
    assert isinstance(one, float)
    assert isinstance(other, float)
    if feature.compare == "log ratio":
        return abs(float(np.log(one / other)))
    return abs(one - other)


# Single features


def _mean_velocity(segment: NoteTable, _: NoteTable, __: float) -> float | None:
    return float(segment.velocity.mean()) if len(segment.velocity) else None


def _mean_pitch(segment: NoteTable, _: NoteTable, __: float) -> float | None:
    pitch = segment.pitched().pitch
    return float(pitch.mean()) if len(pitch) else None


def _pitch_range(segment: NoteTable, _: NoteTable, __: float) -> float | None:
    pitch = segment.pitched().pitch
    return float(np.subtract(*np.quantile(pitch, (0.975, 0.025)))) if len(pitch) else None


def _polyphony(segment: NoteTable, _: NoteTable, seconds: float) -> float | None:
    """Mean number of notes that sound simultaneously (keys held), over the time at which any does."""
    notes = segment.pitched()
    ends = np.minimum(notes.end, seconds)
    reached = np.concatenate(([0.0], np.maximum.accumulate(ends)))[:-1] if len(ends) else ends
    covered = float(np.maximum(ends - np.maximum(notes.onset, reached), 0.0).sum())
    return float((ends - notes.onset).sum()) / covered if covered > 0 else None


_LEAST_DENSITY = 0.1
"""Lower bound of the density in notes per second."""


def _density(segment: NoteTable, _: NoteTable, seconds: float) -> float:
    return max(len(segment.onset) / seconds, _LEAST_DENSITY)


def _density_over_prompt(segment: NoteTable, prompt: NoteTable, seconds: float) -> float | None:
    before = float(prompt.onset[-1]) - float(prompt.onset[0]) if len(prompt.onset) > 1 else 0.0
    return _density(segment, prompt, seconds) / (len(prompt.onset) / before) if before > 0 else None


_INTERVALS = np.concatenate(([0.0], np.geomspace(0.02, 4.0, 24), [np.inf]))
"""Edges of the bins of inter-onset intervals in seconds, in steps of a factor of 1.26; chords are in the first bin."""


def _inter_onsets(segment: NoteTable, _: NoteTable, __: float) -> NDArray[np.float64] | None:
    intervals = np.diff(segment.onset)
    if not len(intervals):
        return None
    counts = np.histogram(intervals, _INTERVALS)[0]
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def pitch_classes(notes: NoteTable) -> NDArray[np.float64] | None:
    """Return the shares of the onsets in each pitch class, (12,), without drums."""
    pitch = notes.pitched().pitch.astype(np.int64)
    return np.bincount(pitch % 12, minlength=12) / len(pitch) if len(pitch) else None


def _pitch_classes_of_prompt(segment: NoteTable, prompt: NoteTable, _: float) -> float | None:
    one, other = pitch_classes(segment), pitch_classes(prompt)
    return None if one is None or other is None else float(np.minimum(one, other).sum())


_MAJOR_PROFILE = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
_MINOR_PROFILE = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])


def krumhansl_key(notes: NoteTable) -> tuple[int, Literal["major", "minor"]] | None:
    """Return tonic and mode of the Krumhansl-Kessler profile with the highest correlation to the durations of the pitch
    classes."""
    pitched = notes.pitched()
    if not len(pitched.pitch):
        return None
    weights = np.bincount(pitched.pitch.astype(np.int64) % 12, weights=pitched.end - pitched.onset, minlength=12)
    if np.ptp(weights) == 0:
        return None
    scores = {
        (tonic, mode): float(np.corrcoef(weights, np.roll(profile, tonic))[0, 1])
        for mode, profile in (("major", _MAJOR_PROFILE), ("minor", _MINOR_PROFILE))
        for tonic in range(12)
    }
    tonic, mode = max(scores, key=lambda key: scores[key])
    return tonic, "major" if mode == "major" else "minor"


def _key_as_prompt(segment: NoteTable, prompt: NoteTable, _: float) -> float | None:
    before, after = krumhansl_key(prompt), krumhansl_key(segment)
    return None if before is None or after is None else float(before == after)


_WINDOW = 10.0
"""Window in seconds in which distinct pitches are counted: fewer than seven, after twelve in the prompt, are a
stall."""


def _fewest_pitches(segment: NoteTable, _: NoteTable, seconds: float) -> float | None:
    """Smallest number of distinct pitches that begin in any ten seconds."""
    if seconds < _WINDOW:
        return None
    notes = segment.pitched()
    # The count can be smallest only where a note leaves the window at its start, or in the first window.
    starts = np.concatenate(([0.0], notes.onset + 1e-6))
    starts = starts[starts <= seconds - _WINDOW]
    first, last = np.searchsorted(notes.onset, starts), np.searchsorted(notes.onset, starts + _WINDOW)
    return float(min(len(np.unique(notes.pitch[a:b])) for a, b in zip(first, last, strict=True)))


_STALLED, _LIVELY = 6, 12
"""Numbers of distinct pitches in ten seconds: at most this many are a stall if the end of the prompt had at least that
many."""


def _stalls(segment: NoteTable, prompt: NoteTable, seconds: float) -> float | None:
    fewest = _fewest_pitches(segment, prompt, seconds)
    before = prompt.pitched()
    if fewest is None or not len(before.onset):
        return None
    lively = len(np.unique(before.pitch[before.onset >= before.onset[-1] - _WINDOW])) >= _LIVELY
    return float(lively and fewest <= _STALLED)


def _density_kept(segment: NoteTable, prompt: NoteTable, seconds: float) -> float | None:
    ratio = _density_over_prompt(segment, prompt, seconds)
    return None if ratio is None else float(1 / 1.5 <= ratio <= 1.5)


def _velocity_drift(segment: NoteTable, _: NoteTable, __: float) -> float | None:
    """Slope of the least-squares line through the velocities, per minute."""
    if len(segment.onset) < 2 or np.ptp(segment.onset) == 0:
        return None
    return float(60 * np.polyfit(segment.onset, segment.velocity, 1)[0])


def _density_drift(segment: NoteTable, _: NoteTable, seconds: float) -> float | None:
    """Logarithm of the ratio of the densities of the two halves, per minute."""
    first = int((segment.onset < seconds / 2).sum())
    second = len(segment.onset) - first
    return 60 * float(np.log(max(second, 1) / max(first, 1))) / (seconds / 2) if len(segment.onset) else None


def _tempo_changes(segment: NoteTable, _: NoteTable, __: float) -> float:
    return float(len(segment.tempo_changes))


# Several instruments


_FAMILIES = 16


def families(notes: NoteTable) -> NDArray[np.float64] | None:
    """Return the shares of the notes in each General MIDI family, (17,), with drums last."""
    if not len(notes.program):
        return None
    family = np.where(notes.drums, _FAMILIES, notes.program // 8)
    return np.bincount(family, minlength=_FAMILIES + 1) / len(family)


def _families(segment: NoteTable, _: NoteTable, __: float) -> NDArray[np.float64] | None:
    return families(segment)


def _silent_families(segment: NoteTable, prompt: NoteTable, _: float) -> float | None:
    before, after = families(prompt), families(segment)
    if before is None:
        return None
    return float(((before > 0) & (after == 0)).sum()) if after is not None else float((before > 0).sum())


def _new_families(segment: NoteTable, prompt: NoteTable, _: float) -> float | None:
    before, after = families(prompt), families(segment)
    return None if before is None or after is None else float(((before == 0) & (after > 0)).sum())


# Several parts


_PARTS = 129 * PARTS_PER_PROGRAM
_REST = 2.0
"""Seconds of silence in a part after which its next note is an entry."""


def _part_shares(segment: NoteTable, prompt: NoteTable, _: float) -> NDArray[np.float64] | None:
    """(1032,) shares of the notes in each part, of pieces whose prompt has several."""
    if len(np.unique(prompt.part)) < 2 or not len(segment.part):
        return None
    return np.bincount(segment.part, minlength=_PARTS) / len(segment.part)


def _silent_parts(segment: NoteTable, prompt: NoteTable, _: float) -> float | None:
    before = np.unique(prompt.part)
    return float(len(np.setdiff1d(before, segment.part))) if len(before) > 1 else None


def _new_parts(segment: NoteTable, prompt: NoteTable, _: float) -> float | None:
    before = np.unique(prompt.part)
    return float(len(np.setdiff1d(segment.part, before))) if len(before) > 1 else None


def _entries(segment: NoteTable, prompt: NoteTable, seconds: float) -> float | None:
    """Notes per minute that begin after two seconds of silence in their part; the segment's start counts as sound."""
    if len(np.unique(prompt.part)) < 2:
        return None
    found = 0
    for part in np.unique(segment.part):
        own = segment.part == part
        silent_since = np.concatenate(([0.0], np.maximum.accumulate(segment.end[own])))[:-1]
        found += int((segment.onset[own] - silent_since >= _REST).sum())
    return 60 * found / seconds


# Drums


_PLACES = 16
"""Places of a bar at which drum onsets are counted, each to the nearest."""


def drum_hits(notes: NoteTable) -> NDArray[np.float64] | None:
    """Return the shares of the drum onsets on each drum, (128,)."""
    hits = notes.pitch[notes.drums].astype(np.int64)
    return np.bincount(hits, minlength=128) / len(hits) if len(hits) else None


def drum_pattern(notes: NoteTable) -> NDArray[np.float64] | None:
    """(2048,) shares of the drum onsets on each drum at each sixteenth of the bar."""
    drums = notes.drums
    if not drums.any():
        return None
    places = np.rint(notes.bar_position[drums] * _PLACES).astype(np.int64) % _PLACES
    hits = notes.pitch[drums].astype(np.int64) * _PLACES + places
    return np.bincount(hits, minlength=128 * _PLACES) / len(hits)


def _kept(
    of: Callable[[NoteTable], NDArray[np.float64] | None],
) -> Callable[[NoteTable, NoteTable, float], Value | None]:
    """The feature of a histogram's common area with the prompt's; 0 where the segment has none."""

    def shared(segment: NoteTable, prompt: NoteTable, _: float) -> float | None:
        one, other = of(segment), of(prompt)
        if other is None:
            return None
        return 0.0 if one is None else float(np.minimum(one, other).sum())

    return shared


FEATURES: tuple[Feature, ...] = (
    Feature(name="velocity", unit="velocity", compare="difference", of=_mean_velocity),
    Feature(name="pitch", unit="semitones", compare="difference", of=_mean_pitch),
    Feature(name="pitch range", unit="semitones", compare="difference", of=_pitch_range),
    Feature(name="polyphony", unit="notes", compare="log ratio", of=_polyphony),
    Feature(name="density", unit="notes/s", compare="log ratio", of=_density),
    Feature(name="inter-onset intervals", unit="share", compare="shared", of=_inter_onsets),
    Feature(name="instrument families", unit="share", compare="shared", of=_families),
    Feature(name="parts", unit="share", compare="shared", of=_part_shares),
    Feature(name="entries", unit="1/min", compare="difference", of=_entries),
    Feature(name="density over the prompt's", unit="ratio", compare="none", of=_density_over_prompt),
    Feature(name="density within 1.5 of the prompt's", unit="share", compare="none", of=_density_kept),
    Feature(name="density drift", unit="ln/min", compare="difference", of=_density_drift),
    Feature(name="velocity drift", unit="1/min", compare="difference", of=_velocity_drift),
    Feature(name="pitch classes shared with the prompt", unit="share", compare="none", of=_pitch_classes_of_prompt),
    Feature(name="key as the prompt's", unit="share", compare="none", of=_key_as_prompt),
    Feature(name="fewest pitches in 10 s", unit="pitches", compare="none", of=_fewest_pitches),
    Feature(name="stalls", unit="share", compare="none", of=_stalls),
    Feature(name="tempo changes", unit="events", compare="none", of=_tempo_changes),
    Feature(name="families that fall silent", unit="families", compare="none", of=_silent_families),
    Feature(name="families that appear", unit="families", compare="none", of=_new_families),
    Feature(name="parts that fall silent", unit="parts", compare="none", of=_silent_parts),
    Feature(name="parts that appear", unit="parts", compare="none", of=_new_parts),
    Feature(name="drums shared with the prompt", unit="share", compare="none", of=_kept(drum_hits)),
    Feature(name="drum pattern shared with the prompt", unit="share", compare="none", of=_kept(drum_pattern)),
)


def feature_vector(found: dict[str, Value]) -> NDArray[np.float64]:
    """Return features as one row for a classifier: numbers and shares one after another, NaN for missing ones."""
    sizes = {"inter-onset intervals": len(_INTERVALS) - 1, "instrument families": _FAMILIES + 1}
    # A part has no meaning beyond its own piece.
    used = [feature.name for feature in FEATURES if feature.name != "parts"]
    return np.concatenate([np.ravel(found.get(name, np.full(sizes.get(name, 1), np.nan))) for name in used])
