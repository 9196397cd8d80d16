"""symusic's soundfont synthesiser, here or in a process of its own.

Of a damaged soundfont it may read where nothing is, which ends the process, or never come back; and no check of the
file would say for certain that it does not. So only the default soundfont, whose bytes are known, is played here: any
other is played by a child process, and if that ends or takes too long, the soundfont is refused.
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
"""How long the last note may ring out."""
_USUAL_VELOCITY = 90
"""Of notes that sound as loud as the soundfont's samples are."""
_LEVEL_DB = 1.0
"""Velocities that differ by less than this sound alike: nobody hears it."""
_SILENCE = 10 ** (-60 / 20)
"""Below this a tail is over."""
_PATIENCE = 60.0, 2.0
"""Seconds that a child process may take: so many, and so many more for each second of sound."""
_MEMORY = 2 * 2**30, 8, 6
"""Bytes that a child process may grow by: so many, so many times the soundfont's size, and the sound's."""


def synthesise(score: Any, font: Path) -> NDArray[np.float32]:
    """(2, N) samples of a score in seconds, until it has faded.

    symusic's synthesiser heeds no velocity: notes are rendered level by level, and each level made as loud as it is.

    Raises:
        UnreadablePieceError: the synthesiser refuses the soundfont.
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
    """`synthesise` in a child process, which a damaged soundfont may end.

    Raises:
        UnreadablePieceError: the synthesiser refuses the soundfont, or ends or hangs over it.
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
    """What the child process runs: a soundfont and a score come in, samples go out."""

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
    """The notes of each loudness as a score of their own; levels are counted from that of the usual velocity.

    Loudness goes with the square of the velocity, as the SoundFont standard has it (2.04, section 8.4.2).
    """
    levels = [round(40 * np.log10(max(velocity, 1) / _USUAL_VELOCITY) / _LEVEL_DB) for velocity in range(128)]
    for level in sorted({levels[note.velocity] for track in score.tracks for note in track.notes}):
        part = score.copy()
        for track in part.tracks:
            track.notes = track.notes.filter(lambda note, level=level: levels[note.velocity] == level, inplace=False)
        yield level, part
