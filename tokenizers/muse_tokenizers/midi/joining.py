"""A prompt as it stands in its file, and a continuation appended at the cut. Knows scores; nothing of ids."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, gcd
from typing import TYPE_CHECKING, Any

from muse_tokenizers.midi.tempo_map import TempoMap

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = ["clip_score", "join_in_beats", "join_in_seconds"]

_MAXIMUM_TICKS_PER_QUARTER = 32_767
_SHORT_SECONDS = 0.002
SUSTAIN = 64


def clip_score(score: Score, cut: int) -> Score:
    """What begins before tick `cut`, to its own full length: a note or pedal held across the cut stays as it is."""
    clipped = score.copy()
    for track in clipped.tracks:
        held = max((pedal.end for pedal in track.pedals if pedal.time < cut), default=0)
        track.notes = track.notes.filter(lambda note: note.time < cut, inplace=False)
        track.pedals = track.pedals.filter(lambda pedal: pedal.time < cut, inplace=False)
        track.pitch_bends = track.pitch_bends.filter(lambda bend: bend.time < cut, inplace=False)
        track.lyrics = track.lyrics.filter(lambda lyric: lyric.time < cut, inplace=False)
        # The controllers of a pedal go with it to its release.
        track.controls = track.controls.filter(
            lambda control, held=held: control.time < cut or (control.number == SUSTAIN and control.time <= held),
            inplace=False,
        )
    clipped.tempos = clipped.tempos.filter(lambda tempo: tempo.time < cut, inplace=False)
    clipped.time_signatures = clipped.time_signatures.filter(lambda item: item.time < cut, inplace=False)
    clipped.key_signatures = clipped.key_signatures.filter(lambda item: item.time < cut, inplace=False)
    clipped.markers = clipped.markers.filter(lambda marker: marker.time < cut, inplace=False)
    return clipped


def join_in_beats(prompt: Score, cut: int, continuation: Score, start: int) -> Score:
    """The prompt untouched, and what the continuation has from tick `start` on, moved to the prompt's tick `cut`.

    Beats stay beats: where the ticks of the two do not divide one another, the prompt's are multiplied, if MIDI can
    count them.
    """
    grid = continuation.ticks_per_quarter
    factor: int = grid // gcd(grid, prompt.ticks_per_quarter)
    if prompt.ticks_per_quarter * factor > _MAXIMUM_TICKS_PER_QUARTER:
        factor = 1
    joined = _multiplied(prompt, factor)
    scale: float = joined.ticks_per_quarter / grid

    def moved(tick: int) -> int:
        return cut * factor + round((tick - start) * scale)

    for tempo in continuation.tempos:
        if tempo.time >= start and tempo.mspq != (joined.tempos[-1].mspq if joined.tempos else 500_000):
            joined.tempos.append(_at(tempo, moved(tempo.time)))
    for signature in continuation.time_signatures:
        if signature.time >= start and _bar(signature) != _bar_in_force(joined):
            joined.time_signatures.append(_at(signature, moved(signature.time)))
    _append_tracks(joined, cut * factor, continuation, start, moved)
    return joined


def join_in_seconds(prompt: Score, cut: int, continuation: Score, start: int) -> Score:
    """The same where seconds stay seconds: the prompt's tempos stand, its ticks are multiplied until one is short."""
    per_tick = TempoMap(prompt).last_seconds_per_tick
    room = _MAXIMUM_TICKS_PER_QUARTER // prompt.ticks_per_quarter
    factor: int = max(1, min(ceil(per_tick / _SHORT_SECONDS), room))
    joined = _multiplied(prompt, factor)
    source, target = TempoMap(continuation), TempoMap(joined)

    def moved(tick: int) -> int:
        return max(round(float(target.ticks(source.seconds(tick)))), cut * factor)

    _append_tracks(joined, cut * factor, continuation, start, moved)
    return joined


def _append_tracks(joined: Score, cut: int, continuation: Score, start: int, moved: Callable[[int], int]) -> None:
    """Append the notes and pedals that begin at tick `start` or later, each to the track of its instrument.

    A note waits for a note of the prompt that still sounds at its pitch, and is left out if it would end before that
    one does; a pedal waits for one that is still down.
    """
    from symusic import PitchBend

    for track in continuation.tracks:
        notes = [_spanning(note, moved) for note in track.notes if note.time >= start]
        pedals = [_spanning(pedal, moved) for pedal in track.pedals if pedal.time >= start]
        if notes or pedals:
            target = _track_like(joined, track)
            if target.pitch_bends and target.pitch_bends[-1].value:
                # The ids know nothing of bends: what was bent when the prompt ended would stay out of tune.
                target.pitch_bends.append(PitchBend(cut, 0))
            _append_notes(target, notes)
            _append_pedals(target, pedals)


def _multiplied(score: Score, factor: int) -> Score:
    if factor == 1:
        return score.copy()
    multiplied: Score = score.resample(score.ticks_per_quarter * factor, 0)
    return multiplied


def _at(event: Any, tick: int) -> Any:
    event = event.copy()
    event.time = tick
    return event


def _spanning(event: Any, moved: Callable[[int], int]) -> Any:
    event = event.copy()
    start, end = moved(event.time), moved(event.end)
    event.time, event.duration = start, max(end - start, 1)
    return event


def _bar(signature: Any) -> float:
    return float(signature.numerator) / float(signature.denominator)


def _bar_in_force(score: Score) -> float:
    return _bar(score.time_signatures[-1]) if score.time_signatures else 1.0


def _track_like(score: Score, model: Track) -> Track:
    """The score's track for an instrument, a new one if it has none."""
    from symusic import Track

    for track in score.tracks:
        if track.is_drum == model.is_drum and (model.is_drum or track.program == model.program):
            return track
    score.tracks.append(Track(program=model.program, is_drum=model.is_drum, name=model.name))
    return score.tracks[-1]


def _append_notes(track: Track, notes: list[Any]) -> None:
    sounding: dict[int, int] = {}
    for note in track.notes:
        sounding[note.pitch] = max(sounding.get(note.pitch, 0), note.end)
    for note in notes:
        start, end = max(note.time, sounding.get(note.pitch, 0)), note.end
        if end > start:
            note.time, note.duration = start, end - start
            track.notes.append(note)


def _append_pedals(track: Track, pedals: list[Any]) -> None:
    down = max((pedal.end for pedal in track.pedals), default=0)
    for pedal in pedals:
        start = max(pedal.time, down)
        if pedal.end > start:
            end = pedal.end
            pedal.time, pedal.duration = start, end - start
            track.pedals.append(pedal)
            down = end
