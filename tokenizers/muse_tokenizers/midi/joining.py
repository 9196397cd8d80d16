"""Joins a prompt, unchanged from its file, and a continuation at the split point. Knows scores, but not ids."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, gcd
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from muse_tokenizers.midi.labels import program_name
from muse_tokenizers.midi.scores import without_late_texts
from muse_tokenizers.midi.tempo_map import TempoMap
from muse_tokenizers.midi.track_assignment import TrackLine, assign_drums, assign_tracks

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = ["clip_score", "find_part", "join_in_beats", "join_in_seconds", "with_tempos"]

_MAXIMUM_TICKS_PER_QUARTER = 32_767
_MAXIMUM_TICKS = 2**27
"""Largest tick of a prompt: as many are left for the continuation."""
_SHORT_SECONDS = 0.002
SUSTAIN = 64


def clip_score(score: Score, split_point: int) -> Score:
    """Return what begins before tick `split_point`, with its full length: a note or pedal that is held across the split
    point is unchanged.

    A track whose notes all come later is left out, as it would be if the clip were written and read: a prompt from a
    file equals one from a sidecar.
    """
    clipped = score.copy()
    for track in clipped.tracks:
        held = max((pedal.end for pedal in track.pedals if pedal.time < split_point), default=0)
        track.notes = track.notes.filter(lambda note: note.time < split_point, inplace=False)
        track.pedals = track.pedals.filter(lambda pedal: pedal.time < split_point, inplace=False)
        track.pitch_bends = track.pitch_bends.filter(lambda bend: bend.time < split_point, inplace=False)
        track.lyrics = track.lyrics.filter(lambda lyric: lyric.time < split_point, inplace=False)
        # The controllers of a pedal are kept up to its release.
        track.controls = track.controls.filter(
            lambda control, held=held: (
                control.time < split_point or (control.number == SUSTAIN and control.time <= held)
            ),
            inplace=False,
        )
    clipped.tempos = clipped.tempos.filter(lambda tempo: tempo.time < split_point, inplace=False)
    clipped.time_signatures = clipped.time_signatures.filter(lambda item: item.time < split_point, inplace=False)
    clipped.key_signatures = clipped.key_signatures.filter(lambda item: item.time < split_point, inplace=False)
    clipped.markers = clipped.markers.filter(lambda marker: marker.time < split_point, inplace=False)
    _leave_out_silent(clipped)
    if clipped.note_num():
        clipped.markers = without_late_texts(clipped)
    return clipped


def _leave_out_silent(score: Score) -> None:
    """Remove the tracks without notes; their lyrics move to the first track with notes."""
    heard = [track for track in score.tracks if len(track.notes)]
    if not heard:
        return
    words: dict[int, list[Any]] = {}
    first = place = 0
    for track in score.tracks:
        target = place if len(track.notes) else first
        place += len(track.notes) > 0
        words[target] = sorted([*words.get(target, []), *track.lyrics], key=attrgetter("time"))
    score.tracks = heard
    for number, lyrics in words.items():
        score.tracks[number].lyrics = lyrics


Tempos = list[tuple[int, int]]
"""Tempos as (tick, microseconds per quarter), in ticks of the continuation."""


Find = Callable[["Score", "Track"], "list[Track]"]
"""Returns the tracks of a joined score among which the notes of a track of the continuation are divided."""


def join_in_beats(
    prompt: Score,
    split_point: int,
    continuation: Score,
    start: int,
    tempos: Tempos | None = None,
    find: Find | None = None,
) -> Score:
    """Return the unchanged prompt, followed by the continuation from tick `start` on, moved to tick `split_point` of
    the prompt.

    Beats are preserved: if the resolutions of the two do not divide each other, that of the prompt is multiplied, as
    far as MIDI allows. `tempos` replaces the tempos of the continuation, and `find` replaces the choice of all tracks
    of an instrument.
    """
    grid = continuation.ticks_per_quarter
    factor: int = grid // gcd(grid, prompt.ticks_per_quarter)
    if factor > _largest_factor(prompt):
        factor = 1
    joined = _multiplied(prompt, factor)
    scale: float = joined.ticks_per_quarter / grid

    def moved(tick: int) -> int:
        return split_point * factor + round((tick - start) * scale)

    if tempos is None:
        tempos = [(tempo.time, tempo.mspq) for tempo in continuation.tempos if tempo.time >= start]
    _append_tempos(joined, [(moved(tick), microseconds) for tick, microseconds in tempos])
    # After a bar that the split point cuts short, a time signature says so, even if it is that of the prompt.
    cut_short = not _is_bar_line(prompt, split_point)
    for signature in continuation.time_signatures[_in_force(continuation, start) :]:
        begins = signature.time <= start and cut_short
        if begins or (signature.time >= start and _bar(signature) != _bar_in_force(joined)):
            joined.time_signatures.append(_at(signature, moved(max(signature.time, start))))
    _append_tracks(joined, split_point * factor, continuation, start, moved, find or _tracks_like)
    return joined


def with_tempos(score: Score, tempos: Tempos) -> Score:
    """Return a score with its tempos replaced."""
    score = score.copy()
    score.tempos = score.tempos.filter(lambda _: False, inplace=False)
    _append_tempos(score, tempos, assumed=None)
    return score


def _append_tempos(score: Score, tempos: Tempos, assumed: int | None = 500_000) -> None:
    """Append tempo changes, without those that change nothing; `assumed` is the tempo if there is none."""
    from symusic import Tempo

    for place, (tick, microseconds) in enumerate(tempos):
        replaced = place + 1 < len(tempos) and tempos[place + 1][0] == tick
        if not replaced and microseconds != (score.tempos[-1].mspq if score.tempos else assumed):
            score.tempos.append(Tempo(tick, mspq=microseconds))


def join_in_seconds(
    prompt: Score, split_point: int, continuation: Score, start: int, find: Find | None = None
) -> Score:
    """Like `join_in_beats`, but seconds are preserved: the tempos of the prompt remain, and its resolution is
    multiplied until a tick is short enough.

    The continuation has no instruments: its notes go to those of the prompt, without drums, unless `find` chooses
    others.
    """
    per_tick = TempoMap(prompt).last_seconds_per_tick
    factor: int = max(1, min(ceil(per_tick / _SHORT_SECONDS), _largest_factor(prompt)))
    joined = _multiplied(prompt, factor)
    source, target = TempoMap(continuation), TempoMap(joined)

    def moved(tick: int) -> int:
        return max(round(float(target.ticks(source.seconds(tick)))), split_point * factor)

    _append_tracks(joined, split_point * factor, continuation, start, moved, find or _pitched_tracks)
    return joined


def _append_tracks(
    joined: Score,
    split_point: int,
    continuation: Score,
    start: int,
    moved: Callable[[int], int],
    find: Find,
) -> None:
    """Append the notes and pedals that begin at tick `start` or later to the track of their instrument or, if several
    tracks play it (two hands, two violins), to the one whose line they continue.

    A note begins after a note of the prompt that still sounds at its pitch, and is left out if it would end before that
    one does; a pedal begins after one that is still down.
    """
    from symusic import PitchBend

    for track in continuation.tracks:
        notes = [_spanning(note, moved) for note in track.notes if note.time >= start]
        pedals = [_spanning(pedal, moved) for pedal in track.pedals if pedal.time >= start]
        if not notes and not pedals:
            continue
        targets = find(joined, track)
        dealt = _dealt(targets, notes)
        for target, own in zip(targets, dealt, strict=True):
            if (own or pedals) and target.pitch_bends and target.pitch_bends[-1].value:
                # Ids have no pitch bends: a bend at the end of the prompt would detune the continuation.
                target.pitch_bends.append(PitchBend(split_point, 0))
            _append_notes(target, own)
            # A pedal affects the instrument on all its tracks.
            _append_pedals(target, [pedal.copy() for pedal in pedals])


def _dealt(targets: list[Track], notes: list[Any]) -> list[list[Any]]:
    """Divide notes among the tracks that play their instrument."""
    if len(targets) == 1:
        return [notes]
    notes.sort(key=lambda note: (note.time, note.pitch))
    if targets[0].is_drum:
        given = assign_drums([track.notes.numpy()["pitch"] for track in targets], [note.pitch for note in notes])
    else:
        given = assign_tracks([TrackLine.of(track.notes) for track in targets], notes)
    dealt: list[list[Any]] = [[] for _ in targets]
    for note, number in zip(notes, given, strict=True):
        dealt[number].append(note)
    return dealt


def _largest_factor(score: Score) -> int:
    """Return the largest factor of the resolution of a score: MIDI stores the resolution in 15 bits and a time in
    28."""
    return min(_MAXIMUM_TICKS_PER_QUARTER // int(score.ticks_per_quarter), _MAXIMUM_TICKS // max(1, int(score.end())))


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


def _in_force(score: Score, tick: int) -> int:
    """Return the number of the time signature that is in force at a tick."""
    earlier = [signature for signature in score.time_signatures if signature.time <= tick]
    return max(len(earlier) - 1, 0)


def _is_bar_line(score: Score, tick: int) -> bool:
    """Whether a bar begins at a tick, on a grid of eighths; bars of more than two whole notes are divided."""
    quarter, signatures = score.ticks_per_quarter, score.time_signatures
    before = signatures[_in_force(score, tick)] if signatures else None
    begin, length = (before.time, 8 * _bar(before)) if before and before.time <= tick else (0, 8.0)
    eighths: int = round(2 * tick / quarter) - round(2 * begin / quarter)
    bar = max(1, round(float(length)))
    return (eighths % bar) % (8 if bar > 16 else bar) == 0


def _bar(signature: Any) -> float:
    return float(signature.numerator) / float(signature.denominator)


def _bar_in_force(score: Score) -> float:
    return _bar(score.time_signatures[-1]) if score.time_signatures else 1.0


def _new_track(score: Score, model: Track) -> Track:
    from symusic import Track

    score.tracks.append(Track(program=model.program, is_drum=model.is_drum, name=model.name))
    return score.tracks[-1]


def _tracks_like(score: Score, model: Track) -> list[Track]:
    """Return the tracks with notes of an instrument; a new one if there is none."""
    found = [
        track
        for track in score.tracks
        if track.is_drum == model.is_drum and (model.is_drum or track.program == model.program)
    ]
    if not found:
        return [_new_track(score, model)]
    return [track for track in found if len(track.notes)] or found[:1]


def find_part(score: Score, model: Track) -> list[Track]:
    """Return the track that is the same part of a program as a track of the continuation, which is named by its program
    and, from the second on, its number; all tracks of the drum kit; a new track if there is none."""
    if model.is_drum:
        return _tracks_like(score, model)
    found = [one for one in score.tracks if not one.is_drum and one.program == model.program and len(one.notes)]
    number = model.name.removeprefix(program_name(model.program)).strip()
    part = int(number) - 1 if number else 0
    return [found[part]] if part < len(found) else [_new_track(score, model)]


def _pitched_tracks(score: Score, model: Track) -> list[Track]:
    """Return the tracks with notes that are not drums; like `_tracks_like` if there is none."""
    return [track for track in score.tracks if len(track.notes) and not track.is_drum] or _tracks_like(score, model)


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
