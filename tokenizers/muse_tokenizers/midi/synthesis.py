"""A score as sound, by symusic's soundfont synthesiser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Waveform
from muse_tokenizers.loudness import gain_to
from muse_tokenizers.midi.scores import held_ends, notes_track
from muse_tokenizers.midi.soundfonts import checked_soundfont, hash_soundfont
from muse_tokenizers.midi.synthesiser import SAMPLE_RATE, synthesise, synthesise_apart
from muse_tokenizers.midi.tempo_map import TempoMap

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["SAMPLE_RATE", "describe_soundfont", "render_between", "render_score"]

_PEAK = 0.89
"""Where the loudest sample is brought down to: -1 dBFS, so that nothing clips in a player that resamples."""
_HELD_SECONDS = 12.0
"""How long a pedal holds a note at most: a string has faded by then, but a soundfont's loop goes on for ever."""
_DRUM_SECONDS = 1.5
"""How long a drum rings, unless it is struck again."""
_TICKS_PER_QUARTER = 480

_HIGHEST = 100
"""symusic's synthesiser never returns from some notes above this: the loop of a sample, sped up so far, is over before
it is done once. Bassoons stick at F7, violas at F#7, brass at C8; nobody plays them there, but a model may."""
_PIANOS = range(7)
"""Programs that play every key."""
_HIGHEST_OF = {44: 89, 48: 89}
"""Of the default soundfont's tremolo strings and first string ensemble symusic reads beyond the end of a sample above
this: whatever lies there in memory sounds."""
_INSTEAD = {78: 79}
"""Its whistle is read so at nearly every pitch: an ocarina plays it."""


def describe_soundfont(soundfont: Path | None = None) -> dict[str, Any]:
    """Name and SHA-256 of the soundfont that `render_score` would use, after a note was played with it.

    Raises:
        UnreadablePieceError: it is missing, is not one, or cannot be played with.
    """
    font = checked_soundfont(soundfont)
    if soundfont is not None:
        synthesise_apart(_one_note(), font)
    return hash_soundfont(font)


def _one_note() -> Any:
    from symusic import Note, Score, Track

    score = Score(_TICKS_PER_QUARTER)
    track = Track(program=0, is_drum=False, name="")
    track.notes.append(Note(0, _TICKS_PER_QUARTER, 60, 90))
    score.tracks.append(track)
    return score.to("second")


def render_score(score: Score, soundfont: Path | None = None, loudness: float | None = None) -> Waveform:
    """Stereo sound at 44,100 Hz that does not clip and ends when it has faded.

    Args:
        score: what is played.
        soundfont: what it is played with; None: the default one.
        loudness: LUFS that one gain brings it to, if its peaks allow; None: no gain but what keeps it from clipping.

    Raises:
        UnreadablePieceError: the soundfont is missing or is not one.
    """
    samples = _synthesised(_ringing(score, is_default=soundfont is None).to("second"), soundfont)
    peak, gain = float(np.abs(samples).max(initial=0.0)), 1.0
    if loudness is not None:
        gain = gain_to(Waveform(samples=samples, sample_rate=SAMPLE_RATE), loudness)
    elif peak > _PEAK:
        gain = _PEAK / peak
    if gain != 1.0:
        samples = samples * np.float32(gain)
    return Waveform(samples=np.ascontiguousarray(samples), sample_rate=SAMPLE_RATE)


def render_between(score: Score, start: float, end: float, soundfont: Path | None = None) -> Waveform:
    """The sound of the notes that begin in [start, end) seconds, from `start` on until they have faded.

    The parts of a piece, each added where it begins, are the whole piece as it is before its peak is brought down: a
    piece can be heard while it is still being written. Samples may exceed 1.

    Raises:
        UnreadablePieceError: the soundfont is missing or is not one.
    """
    ringing = _ringing(score, is_default=soundfont is None).to("second")
    first = round(start * SAMPLE_RATE)
    for track in ringing.tracks:
        track.notes = track.notes.filter(lambda note: start <= note.time < end, inplace=False)
        for note in track.notes:
            note.time = _moved(note.time, first)
    samples = _synthesised(ringing, soundfont)
    return Waveform(samples=np.ascontiguousarray(samples), sample_rate=SAMPLE_RATE)


def _moved(seconds: float, first: int) -> float:
    """When a note begins if sample `first` is the beginning: on the very sample it would have begun on.

    symusic takes the next sample after 32-bit seconds times the rate, so seconds that are merely subtracted may lead to
    its neighbour, and two parts of a piece to an echo.
    """
    sample = np.ceil(np.float32(seconds) * np.float32(SAMPLE_RATE))
    return max((float(sample) - first - 0.5) / SAMPLE_RATE, 0.0)


def _synthesised(score: Any, soundfont: Path | None) -> NDArray[np.float32]:
    font = checked_soundfont(soundfont)
    return synthesise(score, font) if soundfont is None else synthesise_apart(score, font)


def _ringing(score: Score, *, is_default: bool) -> Score:
    """The score with notes as long as they sound: symusic's synthesiser heeds no pedal, and damps a drum at its end."""
    from symusic import Note, Score

    tempo = TempoMap(score)
    ringing = Score(score.ticks_per_quarter)
    ringing.tempos = score.tempos
    for track in score.tracks:
        notes = {name: np.asarray(column) for name, column in track.notes.numpy().items()}
        own_ends = notes["time"].astype(np.int64) + notes["duration"]
        ends = np.minimum(held_ends(track), _later(tempo, own_ends, _HELD_SECONDS))
        if track.is_drum:
            ends = np.maximum(ends, _later(tempo, notes["time"], _DRUM_SECONDS))
        notes["duration"] = np.maximum(ends - notes["time"], 1).astype(np.int32)
        program = track.program
        if not track.is_drum and program not in _PIANOS:
            highest = _HIGHEST_OF.get(program, _HIGHEST) if is_default else _HIGHEST
            notes["pitch"] = _playable(notes["pitch"], highest)
            program = _INSTEAD.get(program, program) if is_default else program
        longer = track.copy()
        longer.notes = Note.from_numpy(**notes)
        ringing.tracks.append(notes_track([longer], program=program, is_drum=track.is_drum, name=track.name))
    return ringing


def _playable(pitch: NDArray[Any], highest: int) -> NDArray[Any]:
    """Pitches that can be played; what is too high sounds octaves lower."""
    return np.where(pitch > highest, (pitch - highest - 1) % 12 + highest - 11, pitch).astype(pitch.dtype)


def _later(tempo: TempoMap, ticks: NDArray[Any], seconds: float) -> NDArray[np.int64]:
    """The ticks some seconds after others."""
    return np.ceil(tempo.ticks(tempo.seconds(ticks) + seconds)).astype(np.int64)
