"""Durations of scores, and cleaning and merging of their tracks. Knows symusic, but not files or ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.errors import UnreadablePieceError
from muse_tokenizers.midi.smf import COPYRIGHT, MARKER, TEXT, TRACK_NAME

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = [
    "as_marker",
    "clean_notes",
    "event_of_marker",
    "held_ends",
    "held_spans",
    "merge_tracks",
    "notes_track",
    "rewrite_time_signatures",
    "score_in_ticks",
    "score_seconds",
    "without_late_texts",
]


_FINEST = 32767
"""Largest number of ticks per quarter note in a MIDI file."""
_FINE = 480
"""Smallest number of ticks per quarter note to which seconds and quarter notes are rounded: a tick is about 1 ms."""
_KEPT = {chr(kind): kind for kind in (TEXT, COPYRIGHT, TRACK_NAME)}
"""Kinds of meta events that are kept as markers, by the character after the zero."""


def as_marker(kind: int, text: str) -> str:
    """Return the text of a marker that represents another meta event of the whole piece (its title, a text, a copyright
    notice), for which symusic's scores have no place. A marker of a MIDI file has no zero in its text."""
    return f"\0{chr(kind)}{text}"


def event_of_marker(text: str) -> tuple[int, str]:
    """Return the kind of meta event that a marker of a score represents, and its text.

    >>> event_of_marker(as_marker(1, "allegro")), event_of_marker("verse")
    ((1, 'allegro'), (6, 'verse'))
    """
    return (_KEPT[text[1]], text[2:]) if text[:1] == "\0" and text[1:2] in _KEPT else (MARKER, text)


def without_late_texts(score: Score) -> Any:
    """The markers of a score but for texts after its last note, with which it would be longer."""
    last = max(int((track.notes.numpy()["time"] + track.notes.numpy()["duration"]).max()) for track in score.tracks)
    return score.markers.filter(lambda one: one.time <= last or event_of_marker(one.text)[0] == MARKER, inplace=False)


def score_in_ticks(score: Any) -> Score:
    """Convert a score in ticks, quarter notes or seconds to ticks, at least 480 per quarter note unless it is in ticks.

    Raises:
        UnreadablePieceError: Its resolution or a time cannot be in a MIDI file.
    """
    resolution = int(score.ticks_per_quarter)
    if not 1 <= resolution <= _FINEST:
        raise UnreadablePieceError(f"the score's ticks_per_quarter is {resolution}; allowed: 1 to {_FINEST:,}")
    if str(score.ttype).rpartition(".")[2] == "Tick":
        return score
    times = [_times(one) for track in score.tracks for one in (track.notes, track.pedals)]
    if not all(np.isfinite(one).all() and one.min(initial=0.0) >= 0 for one in times):
        raise UnreadablePieceError("the score has times that are negative, NaN or infinite; allowed: from 0 on")
    finer = score.copy()
    # A multiple, so that the times of a score that was converted from ticks are those ticks again.
    finer.ticks_per_quarter = resolution * -(-_FINE // resolution)
    converted: Score = finer.to("tick")
    if any(_times(one).min(initial=0.0) < 0 for track in converted.tracks for one in (track.notes, track.pedals)):
        # The number of ticks has 32 bits.
        raise UnreadablePieceError("the score is too long to be counted in ticks")
    return converted


def _times(events: Any) -> NDArray[np.float64]:
    columns = events.numpy()
    return np.concatenate([columns["time"], columns["duration"]]).astype(np.float64)


def score_seconds(score: Score) -> float:
    """Return the time at which the last event of a score ends, in seconds."""
    return float(score.to("second").end())


def _columns(track: Track) -> dict[str, Any]:
    return {name: np.asarray(column) for name, column in track.notes.numpy().items()}


def _clean(notes: dict[str, Any]) -> dict[str, Any]:
    """Sort notes by onset and pitch, make each at least a tick long, and remove overlaps of equal pitches.

    An instrument cannot play a pitch twice at once, and a MIDI file cannot represent it: of two notes that begin
    together the longer one is kept, and a note ends where its pitch begins again.
    """
    notes = {name: column[notes["velocity"] > 0] for name, column in notes.items()}
    order = np.lexsort((-notes["duration"], notes["time"], notes["pitch"]))
    notes = {name: column[order] for name, column in notes.items()}
    pitch, time = notes["pitch"], notes["time"]
    if len(time) > 1:
        again = (pitch[1:] == pitch[:-1]) & (time[1:] == time[:-1])
        keep = np.concatenate(([True], ~again))
        notes = {name: column[keep] for name, column in notes.items()}
        pitch, time = notes["pitch"], notes["time"]
        gap = np.where(pitch[1:] == pitch[:-1], time[1:] - time[:-1], np.iinfo(np.int32).max)
        notes["duration"][:-1] = np.minimum(notes["duration"][:-1], gap)
    notes["duration"] = np.maximum(notes["duration"], 1)
    order = np.lexsort((notes["pitch"], notes["time"]))
    return {name: np.ascontiguousarray(column[order]) for name, column in notes.items()}


def clean_notes(track: Track) -> dict[str, Any]:
    """Return the notes of a track as columns, sorted by onset and pitch, with overlaps of equal pitches removed."""
    return _clean(_columns(track))


def held_spans(tracks: Iterable[Track]) -> list[tuple[int, int]]:
    """Return the ticks between which the pedal of any of several tracks is down."""
    return _union((pedal.time, pedal.end) for track in tracks for pedal in track.pedals)


def notes_track(tracks: list[Track], *, program: int, is_drum: bool, name: str) -> Track:
    """Merge the notes and pedals of several tracks into one clean track."""
    from symusic import Note, Pedal, Track

    merged = Track(program=program, is_drum=is_drum, name=name)
    columns = [_columns(track) for track in tracks if len(track.notes)]
    if columns:
        notes = _clean({key: np.concatenate([column[key] for column in columns]) for key in columns[0]})
        merged.notes = Note.from_numpy(**notes)
    for start, end in held_spans(tracks):
        merged.pedals.append(Pedal(start, end - start))
    return merged


def _union(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge overlapping spans: tracks of one channel all have its pedal."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if found and start < found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def held_ends(track: Track) -> NDArray[np.int64]:
    """Return the tick up to which each note of a track sounds: its end, or the release of a pedal that is down then."""
    notes = track.notes.numpy()
    ends: NDArray[np.int64] = notes["time"].astype(np.int64) + notes["duration"]
    pedals = track.pedals.numpy()
    if len(pedals["time"]) and len(ends):
        order = np.argsort(pedals["time"], kind="stable")
        down = pedals["time"][order].astype(np.int64)
        up = down + pedals["duration"][order]
        at = np.searchsorted(down, ends, side="right") - 1
        ends = np.where(at >= 0, np.maximum(ends, up[at]), ends)
    return ends


def merge_tracks(score: Score) -> list[Track]:
    """Return one clean track per instrument, sorted by program with drums last; tracks without notes are left out."""
    groups: dict[tuple[bool, int], list[Track]] = {}
    for track in score.tracks:
        if len(track.notes):
            groups.setdefault((track.is_drum, 0 if track.is_drum else track.program), []).append(track)
    return [
        notes_track(tracks, program=program, is_drum=is_drum, name=tracks[0].name)
        for (is_drum, program), tracks in sorted(groups.items())
    ]


def rewrite_time_signatures(score: Score, allowed: tuple[tuple[int, int], ...]) -> Iterator[Any]:
    """Rewrite the time signatures of a score over 4 or 8, with bars of the same length.

    One that cannot be rewritten (5/16) is unchanged; MidiTok then keeps the previous signature.
    """
    from symusic import TimeSignature

    for signature in score.time_signatures:
        beats, unit = signature.numerator, signature.denominator
        while unit < 4 and beats < 128:
            beats, unit = beats * 2, unit * 2
        while unit > 8 and beats % 2 == 0:
            beats, unit = beats // 2, unit // 2
        if (beats, unit) not in allowed and (beats * 2, unit * 2) in allowed:
            beats, unit = beats * 2, unit * 2
        yield TimeSignature(signature.time, beats, unit)
