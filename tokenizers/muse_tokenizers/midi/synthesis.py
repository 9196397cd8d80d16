"""Renders scores with symusic's soundfont synthesiser."""

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
"""Peak after normalisation: -1 dBFS, so that nothing clips in a player that resamples."""
_HELD_SECONDS = 12.0
"""Longest time that a pedal holds a note: a string has decayed by then, but the loop of a soundfont does not."""
_DRUM_SECONDS = 1.5
"""Length of a drum note, unless it is played again."""
_TICKS_PER_QUARTER = 480

_HIGHEST = 100
"""Highest pitches at which symusic's synthesiser returns: above them the loop of a sample is shorter than one output
sample. Bassoons hang at F7, violas at F#7, brass at C8; nobody plays them there, but a model may."""
_PIANOS = range(7)
"""Programs that can play every pitch."""
_HIGHEST_OF = {44: 89, 48: 89}
"""Highest pitch at which symusic reads tremolo strings and the first string ensemble of the default soundfont
correctly; above it, it reads beyond the end of a sample."""
_INSTEAD = {78: 79}
"""The whistle is affected at nearly every pitch, and is replaced by an ocarina."""


def describe_soundfont(soundfont: str | Path | None = None) -> dict[str, Any]:
    """Return name and SHA-256 of the soundfont that `render_score` would use, after playing a note with it.

    Raises:
        UnreadablePieceError: The soundfont is missing, invalid, or cannot be played.
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


def render_score(score: Score, soundfont: str | Path | None = None, loudness: float | None = None) -> Waveform:
    """Render a score as stereo sound at 44,100 Hz that does not clip, until the last note has decayed.

    Args:
        score: The score.
        soundfont: Path of the soundfont; None for the default one.
        loudness: Loudness in LUFS, reached with a single gain as far as the peaks allow; None only prevents clipping.

    Raises:
        UnreadablePieceError: The soundfont is missing or invalid.
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


def render_between(score: Score, start: float, end: float, soundfont: str | Path | None = None) -> Waveform:
    """Render the notes that begin in [start, end) seconds, from `start` until they have decayed.

    The parts of a piece, each added at its start, sum to the whole before normalisation, so that a piece can be played
    while it is being generated. Samples may exceed 1.

    Raises:
        UnreadablePieceError: The soundfont is missing or invalid.
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
    """Return the onset of a note relative to sample `first`, such that it begins at exactly the same sample.

    symusic computes the sample from 32-bit seconds, so a plain subtraction may give a neighbouring sample, and two
    parts of a piece would overlap with an echo.
    """
    sample = np.ceil(np.float32(seconds) * np.float32(SAMPLE_RATE))
    return max((float(sample) - first - 0.5) / SAMPLE_RATE, 0.0)


def _synthesised(score: Any, soundfont: str | Path | None) -> NDArray[np.float32]:
    font = checked_soundfont(soundfont)
    return synthesise(score, font) if soundfont is None else synthesise_apart(score, font)


def _ringing(score: Score, *, is_default: bool) -> Score:
    """Return the score with notes as long as they sound: symusic's synthesiser ignores pedals, and damps a drum at its
    end."""
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
    """Return pitches that can be played; higher ones are moved down by octaves."""
    return np.where(pitch > highest, (pitch - highest - 1) % 12 + highest - 11, pitch).astype(pitch.dtype)


def _later(tempo: TempoMap, ticks: NDArray[Any], seconds: float) -> NDArray[np.int64]:
    """Return the ticks that are some seconds after others."""
    return np.ceil(tempo.ticks(tempo.seconds(ticks) + seconds)).astype(np.int64)
