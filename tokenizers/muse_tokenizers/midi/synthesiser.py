"""Runs symusic's soundfont synthesiser in this process or in a child process.

With a damaged soundfont it may access invalid memory, which ends the process, or never return; no check of the file can
exclude this. So only the default soundfont, whose bytes are known, is played in this process. Any other is played in a
child process and refused if that crashes or takes too long.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.child_process import Answer, ChildExitedError, ChildProcess, ChildTimeoutError, limit_memory, serve
from muse_tokenizers.errors import UnreadablePieceError

__all__ = ["SAMPLE_RATE", "synthesise", "synthesise_apart"]

SAMPLE_RATE = 44_100
_TAIL_SECONDS = 3.0
"""Longest decay of the last note in seconds."""
_USUAL_VELOCITY = 90
"""Velocity at which notes are as loud as the samples of the soundfont."""
_LEVEL_DB = 1.0
"""Velocities that differ by less than this are rendered alike, because the difference is inaudible."""
_SILENCE = 10 ** (-60 / 20)
"""Amplitude below which a note has decayed."""
_PATIENCE = 60.0, 2.0
"""Timeout of a child process: a constant in seconds, plus a multiple of the duration of the sound."""
_MEMORY = 2 * 2**30, 8, 6
"""Memory limit of a child process: a constant in bytes, plus a multiple of the soundfont's size, plus the sound."""


def synthesise(score: Any, font: Path) -> NDArray[np.float32]:
    """Render a score in seconds until it has decayed, (2, N) float32.

    symusic's synthesiser ignores velocities: notes are rendered by velocity level, and each level is scaled.

    Raises:
        UnreadablePieceError: The synthesiser refuses the soundfont.
    """
    from symusic import Synthesizer

    length = _length(score)
    samples = np.zeros((2, length), dtype=np.float32)
    if not length:
        return samples
    try:
        synthesizer = Synthesizer(str(font), SAMPLE_RATE, 0)
        for level, part in _by_level(score):
            sound = np.asarray(synthesizer.render(part, stereo=True), dtype=np.float32)[:, : samples.shape[1]]
            samples[:, : sound.shape[1]] += np.float32(10 ** (level * _LEVEL_DB / 20)) * sound
    except (RuntimeError, ValueError, MemoryError) as error:
        raise UnreadablePieceError(
            f"cannot play with the soundfont {font}: the synthesiser finds it damaged"
        ) from error
    if not np.isfinite(samples).all():
        raise UnreadablePieceError(f"cannot play with the soundfont {font}: it is damaged; what it gives is not sound")
    loud = np.flatnonzero(np.abs(samples).max(axis=0) > _SILENCE)
    return samples[:, : int(loud[-1]) + 1 if len(loud) else 0]


def synthesise_apart(score: Any, font: Path) -> NDArray[np.float32]:
    """Run `synthesise` in a child process, which a damaged soundfont may crash.

    Raises:
        UnreadablePieceError: The synthesiser refuses the soundfont, crashes or hangs.
    """
    seconds = _length(score) / SAMPLE_RATE
    if not seconds:
        return np.zeros((2, 0), dtype=np.float32)
    try:
        with ChildProcess(serve_synthesiser) as child:
            child.send({}, pickle.dumps((str(font), score)))
            answer, samples = child.receive(_PATIENCE[0] + _PATIENCE[1] * seconds)
    except ChildTimeoutError as error:
        raise UnreadablePieceError(
            f"cannot play with the soundfont {font}: it is damaged; the synthesiser did not finish"
        ) from error
    except ChildExitedError as error:
        raise UnreadablePieceError(
            f"cannot play with the soundfont {font}: it is damaged; the synthesiser crashed on it"
        ) from error
    except OSError as error:
        raise UnreadablePieceError(f"cannot play with the soundfont {font}: {error.strerror}") from error
    if "refused" in answer:
        raise UnreadablePieceError(answer["refused"])
    return np.frombuffer(samples, dtype=np.float32).reshape(2, -1).copy()


def serve_synthesiser() -> None:
    """Main function of the child process: it receives a soundfont and a score, and returns samples."""

    def answer(_: dict[str, Any], content: bytes) -> Answer:
        font, score = pickle.loads(content)
        fixed, of_font, of_sound = _MEMORY
        limit_memory(fixed + of_font * Path(font).stat().st_size + of_sound * 2 * 4 * _length(score))
        try:
            return {}, synthesise(score, Path(font)).tobytes()
        except UnreadablePieceError as error:
            return {"refused": str(error)}, b""

    serve(answer)


def _length(score: Any) -> int:
    ends = [note.time + note.duration for track in score.tracks for note in track.notes]
    return round((max(ends) + _TAIL_SECONDS) * SAMPLE_RATE) if ends else 0


def _by_level(score: Any) -> Iterator[tuple[int, Any]]:
    """Yield the notes of each level as a separate score; levels are relative to that of the default velocity.

    The amplitude is proportional to the square of the velocity, as in the SoundFont standard (2.04, section 8.4.2).
    """
    levels = [round(40 * np.log10(max(velocity, 1) / _USUAL_VELOCITY) / _LEVEL_DB) for velocity in range(128)]
    for level in sorted({levels[note.velocity] for track in score.tracks for note in track.notes}):
        part = score.copy()
        for track in part.tracks:
            track.notes = track.notes.filter(lambda note, level=level: levels[note.velocity] == level, inplace=False)
        yield level, part
