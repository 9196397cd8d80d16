"""A score as sound, by symusic's soundfont synthesiser."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Waveform
from muse_tokenizers.errors import UnreadablePiece
from muse_tokenizers.midi.scores import held_ends, notes_track
from muse_tokenizers.midi.tempo_map import TempoMap

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score

__all__ = ["SAMPLE_RATE", "default_soundfont", "describe_soundfont", "render_between", "render_score"]

SAMPLE_RATE = 44_100
_PEAK = 0.89
"""Where the loudest sample is brought down to: -1 dBFS, so that nothing clips in a player that resamples."""
_TAIL_SECONDS = 3.0
"""How long the last note may ring out."""
_HELD_SECONDS = 12.0
"""How long a pedal holds a note at most: a string has faded by then, but a soundfont's loop goes on for ever."""
_DRUM_SECONDS = 1.5
"""How long a drum rings, unless it is struck again."""
_USUAL_VELOCITY = 90
"""Of notes that sound as loud as the soundfont's samples are."""
_LEVEL_DB = 1.0
"""Velocities that differ by less than this sound alike: nobody hears it."""
_SILENCE = 10 ** (-60 / 20)
"""Below this a tail is over."""


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


def default_soundfont() -> Path:
    """TimGM6mb, where pretty_midi installed it. It is under the GPL-2: used from there, copied nowhere.

    Raises:
        UnreadablePiece: pretty_midi is not installed whole.
    """
    spec = find_spec("pretty_midi")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "TimGM6mb.sf2"
        if path.is_file():
            return path
    raise UnreadablePiece("pretty_midi's soundfont TimGM6mb.sf2 is not installed; name another with --soundfont")


def describe_soundfont(soundfont: Path | None = None) -> dict[str, Any]:
    """Name and SHA-256 of the soundfont that `render_score` would use.

    Raises:
        UnreadablePiece: it is missing or is not one.
    """
    font = _checked(soundfont)
    with font.open("rb") as file:
        return {"soundfont": font.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _checked(soundfont: Path | None) -> Path:
    font = soundfont or default_soundfont()
    try:
        with font.open("rb") as file:
            header = file.read(12)
    except OSError as error:
        raise UnreadablePiece(f"cannot read the soundfont {font}: {error.strerror}") from error
    if not (header.startswith(b"RIFF") and header.endswith(b"sfbk")):
        raise UnreadablePiece(f"{font} is not a soundfont: it should be an .sf2 or .sf3 file")
    return font


def render_score(score: Score, soundfont: Path | None = None) -> Waveform:
    """Stereo sound at 44,100 Hz that does not clip and ends when it has faded.

    Raises:
        UnreadablePiece: the soundfont is missing or is not one.
    """
    samples = _synthesised(_ringing(score, is_default=soundfont is None).to("second"), _checked(soundfont))
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > _PEAK:
        samples = samples * np.float32(_PEAK / peak)
    return Waveform(samples=np.ascontiguousarray(samples), sample_rate=SAMPLE_RATE)


def render_between(score: Score, start: float, end: float, soundfont: Path | None = None) -> Waveform:
    """The sound of the notes that begin in [start, end) seconds, from `start` on until they have faded.

    The parts of a piece, each added where it begins, are the whole piece as it is before its peak is brought down: a
    piece can be heard while it is still being written. Samples may exceed 1.

    Raises:
        UnreadablePiece: the soundfont is missing or is not one.
    """
    ringing = _ringing(score, is_default=soundfont is None).to("second")
    first = round(start * SAMPLE_RATE)
    for track in ringing.tracks:
        track.notes = track.notes.filter(lambda note: start <= note.time < end, inplace=False)
        for note in track.notes:
            note.time = _moved(note.time, first)
    samples = _synthesised(ringing, _checked(soundfont))
    return Waveform(samples=np.ascontiguousarray(samples), sample_rate=SAMPLE_RATE)


def _moved(seconds: float, first: int) -> float:
    """When a note begins if sample `first` is the beginning: on the very sample it would have begun on.

    symusic takes the next sample after 32-bit seconds times the rate, so seconds that are merely subtracted may lead to
    its neighbour, and two parts of a piece to an echo.
    """
    sample = np.ceil(np.float32(seconds) * np.float32(SAMPLE_RATE))
    return max((float(sample) - first - 0.5) / SAMPLE_RATE, 0.0)


def _synthesised(score: Any, font: Path) -> NDArray[np.float32]:
    """(2, N) samples of a score in seconds, until it has faded.

    symusic's synthesiser heeds no velocity: notes are rendered level by level, and each level made as loud as it is.
    """
    from symusic import Synthesizer

    ends = [note.time + note.duration for track in score.tracks for note in track.notes]
    if not ends:
        return np.zeros((2, 0), dtype=np.float32)
    samples = np.zeros((2, round((max(ends) + _TAIL_SECONDS) * SAMPLE_RATE)), dtype=np.float32)
    try:
        synthesizer = Synthesizer(str(font), SAMPLE_RATE, 0)
        for level, part in _by_level(score):
            sound = np.asarray(synthesizer.render(part, stereo=True), dtype=np.float32)[:, : samples.shape[1]]
            samples[:, : sound.shape[1]] += np.float32(10 ** (level * _LEVEL_DB / 20)) * sound
    except (RuntimeError, ValueError) as error:
        raise UnreadablePiece(f"cannot play with the soundfont {font}: {str(error).splitlines()[0]}") from error
    loud = np.flatnonzero(np.abs(samples).max(axis=0) > _SILENCE)
    return samples[:, : int(loud[-1]) + 1 if len(loud) else 0]


def _by_level(score: Any) -> Iterator[tuple[int, Any]]:
    """The notes of each loudness as a score of their own; levels are counted from that of the usual velocity.

    Loudness goes with the square of the velocity, as the SoundFont standard has it (2.04, section 8.4.2).
    """
    levels = [round(40 * np.log10(max(velocity, 1) / _USUAL_VELOCITY) / _LEVEL_DB) for velocity in range(128)]
    for level in sorted({levels[note.velocity] for track in score.tracks for note in track.notes}):
        part = score.copy()
        for track in part.tracks:
            track.notes = track.notes.filter(lambda note, level=level: levels[note.velocity] == level, inplace=False)
        yield level, part


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
