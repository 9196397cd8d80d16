"""Scores: reading, cleaning and writing MIDI files. Knows symusic; nothing of ids."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.errors import UnreadablePiece, UnwritablePiece
from muse_tokenizers.midi.chunks import structure_problem

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = [
    "MAXIMUM_NOTES",
    "MAXIMUM_SECONDS",
    "dump_score",
    "held_ends",
    "merge_tracks",
    "notes_track",
    "parse_score",
    "read_score",
    "rewrite_time_signatures",
    "score_seconds",
    "write_score",
]

MAXIMUM_NOTES = 500_000
MAXIMUM_SECONDS = 4 * 3600
MAXIMUM_BYTES = 64 * 2**20
SUSTAIN = 64
"""The controller number of the sustain pedal."""
_PRESSED = 64
"""The least value at which it is down."""


def read_score(path: Path) -> Score:
    """Read a MIDI file.

    Raises:
        UnreadablePiece: no such file, not MIDI, truncated, without notes, or longer than anyone can mean.
    """
    try:
        size = path.stat().st_size
        if size > MAXIMUM_BYTES:
            raise UnreadablePiece(f"{path} has {size / 2**20:.0f} MiB; allowed: up to {MAXIMUM_BYTES // 2**20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadablePiece(f"cannot read {path}: {error.strerror}") from error
    return parse_score(data, str(path))


def parse_score(data: bytes, name: str) -> Score:
    """The score in the bytes of a MIDI file; `name` is for messages.

    Raises:
        UnreadablePiece: see `read_score`.
    """
    from symusic import Score

    if not data.startswith(b"MThd"):
        raise UnreadablePiece(f"{name} is not a MIDI file: it does not begin with MThd")
    problem = structure_problem(data)
    if problem:
        raise UnreadablePiece(f"{name} is a damaged MIDI file: {problem}")
    try:
        score = Score.from_midi(data)
        # Bars and beats of no length, which damaged files have, would never end.
        score.time_signatures = [item for item in score.time_signatures if item.numerator > 0 and item.denominator > 0]
        score.tempos = [tempo for tempo in score.tempos if tempo.mspq > 0]
        for track in score.tracks:
            _read_pedals(track)
        notes = score.note_num()
        seconds = score_seconds(score) if notes else 0.0
    except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
        reason = str(error).removeprefix("MiniMidi: ").split("\n")[0]
        raise UnreadablePiece(f"{name} is a damaged MIDI file: {reason}") from error
    if notes == 0:
        raise UnreadablePiece(f"{name} has no notes")
    if any(len(track.notes) and track.notes.numpy()["time"].min() < 0 for track in score.tracks):
        raise UnreadablePiece(f"{name} is a damaged MIDI file: it counts more ticks than fit into 31 bits")
    if notes > MAXIMUM_NOTES:
        raise UnreadablePiece(f"{name} has {notes:,} notes; allowed: up to {MAXIMUM_NOTES:,}")
    if seconds > MAXIMUM_SECONDS:
        raise UnreadablePiece(
            f"{name} is {seconds / 3600:.1f} hours long; allowed: up to {MAXIMUM_SECONDS // 3600} hours"
        )
    return score


def _read_pedals(track: Track) -> None:
    """Pedals anew from their controllers: symusic 0.5.9 begins the first one of many tracks at tick 0."""
    from symusic import Pedal

    controls = track.controls.numpy()
    sustain = controls["number"] == SUSTAIN
    if not sustain.any():
        return
    time, down = controls["time"][sustain], (controls["value"][sustain] >= _PRESSED).astype(np.int8)
    change = np.diff(down, prepend=0)
    pressed, released = time[change == 1], time[change == -1]
    # One that is never released has no length that it could be given.
    pressed = pressed[: len(released)]
    duration = released - pressed
    track.pedals = Pedal.from_numpy(
        time=np.ascontiguousarray(pressed[duration > 0]), duration=np.ascontiguousarray(duration[duration > 0])
    )


def score_seconds(score: Score) -> float:
    """Seconds until the last event of a score ends."""
    return float(score.to("second").end())


def dump_score(score: Score) -> bytes:
    """The bytes of a score as a MIDI file.

    symusic writes controllers and leaves pedals out, so the presses and releases that no controller
    stands for are written as controllers. It gives every track a channel of its own and begins again after the
    fifteenth, so that a player would sound the sixteenth with the program of the first: then the tracks of one
    instrument get one channel. More than fifteen instruments beside the drums no MIDI port can hold apart.
    """
    score = score.copy()
    for track in score.tracks:
        _write_pedals_as_controls(track)
    data = bytes(score.dumps_midi())
    crowded = sum(not track.is_drum for track in score.tracks) > len(_CHANNELS)
    return _with_a_channel_an_instrument(data) if crowded else data


_CHANNELS = tuple(channel for channel in range(16) if channel != 9)
"""MIDI's channels but for that of the drums."""


def _with_a_channel_an_instrument(data: bytes) -> bytes:
    """The same tracks, those of one instrument on one channel."""
    import mido

    file = mido.MidiFile(file=io.BytesIO(data))
    channels: dict[int, int] = {}
    for track in file.tracks:
        program = next((message.program for message in track if message.type == "program_change"), 0)
        for message in track:
            if not message.is_meta and hasattr(message, "channel") and message.channel != 9:
                message.channel = channels.setdefault(program, _CHANNELS[len(channels) % len(_CHANNELS)])
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def _write_pedals_as_controls(track: Track) -> None:
    from symusic import ControlChange

    there = {(control.time, control.value >= _PRESSED) for control in track.controls if control.number == SUSTAIN}
    pedals = [pedal for pedal in track.pedals if pedal.duration > 0]
    releases = [ControlChange(pedal.end, SUSTAIN, 0) for pedal in pedals if (pedal.end, False) not in there]
    presses = [ControlChange(pedal.time, SUSTAIN, 127) for pedal in pedals if (pedal.time, True) not in there]
    if releases or presses:
        # At one tick a release comes before a press, or the pedal would stay up; the score's own controllers keep
        # their order, on which some of them (RPN 101, 100, 6, 38) depend.
        track.controls = sorted([*releases, *track.controls, *presses], key=lambda control: control.time)


def write_score(score: Score, path: Path) -> None:
    """Write a MIDI file.

    Raises:
        UnwritablePiece: the file cannot be written.
    """
    try:
        path.write_bytes(dump_score(score))
    except OSError as error:
        raise UnwritablePiece(f"cannot write {path}: {error.strerror}") from error


def _columns(track: Track) -> dict[str, Any]:
    return {name: np.asarray(column) for name, column in track.notes.numpy().items()}


def _clean(notes: dict[str, Any]) -> dict[str, Any]:
    """Notes sorted by onset and pitch, each at least a tick long, none struck again while it sounds.

    One instrument cannot sound one pitch twice at once, and a MIDI file cannot say it: of two notes that begin
    together the longer stays, and a note ends where its pitch is struck again.
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


def notes_track(tracks: list[Track], *, program: int, is_drum: bool, name: str) -> Track:
    """One clean track that plays all the notes and pedals of several."""
    from symusic import Note, Track

    merged = Track(program=program, is_drum=is_drum, name=name)
    columns = [_columns(track) for track in tracks if len(track.notes)]
    if columns:
        notes = _clean({key: np.concatenate([column[key] for column in columns]) for key in columns[0]})
        merged.notes = Note.from_numpy(**notes)
    pedals = [pedal for track in tracks for pedal in track.pedals if pedal.duration > 0]
    for pedal in sorted(pedals, key=lambda pedal: (pedal.time, pedal.end)):
        merged.pedals.append(pedal)
    return merged


def held_ends(track: Track) -> NDArray[np.int64]:
    """The tick up to which each note of a track sounds: its end, or the release of the pedal that is down there."""
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
    """One clean track for each instrument, by program, drums last; tracks without notes are left out."""
    groups: dict[tuple[bool, int], list[Track]] = {}
    for track in score.tracks:
        if len(track.notes):
            groups.setdefault((track.is_drum, 0 if track.is_drum else track.program), []).append(track)
    return [
        notes_track(tracks, program=program, is_drum=is_drum, name=tracks[0].name)
        for (is_drum, program), tracks in sorted(groups.items())
    ]


def rewrite_time_signatures(score: Score, allowed: tuple[tuple[int, int], ...]) -> Iterator[Any]:
    """A score's time signatures over 4 or 8, with bars as long as they were.

    One that cannot be rewritten (5/16) is left as it is; MidiTok then goes on in the signature before it.
    """
    from symusic import TimeSignature

    for signature in score.time_signatures:
        beats, unit = signature.numerator, signature.denominator
        while unit < 4:
            beats, unit = beats * 2, unit * 2
        while unit > 8 and beats % 2 == 0:
            beats, unit = beats // 2, unit // 2
        if (beats, unit) not in allowed and (beats * 2, unit * 2) in allowed:
            beats, unit = beats * 2, unit * 2
        yield TimeSignature(signature.time, beats, unit)
