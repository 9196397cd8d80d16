"""A continuation as files: the piece and its sound, under a name that is free."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from muse_shortcut.files import write_bytes
from muse_tokenizers.audio.waveforms import wav_bytes
from muse_tokenizers.base import Tokenizer, Waveform
from muse_tokenizers.levels import LOUDNESS

__all__ = ["free_number", "write_piece", "write_sound", "write_waveform"]


def write_piece(tokenizer: Tokenizer[Any], piece: Any, stem: Path) -> Path:
    """Write a piece under a path without an ending; return the file.

    Raises:
        OutputError: it could not be written.
    """
    path = stem.with_name(stem.name + tokenizer.suffix)
    write_bytes(path, tokenizer.dumps(piece))
    return path


def write_sound(
    tokenizer: Tokenizer[Any],
    piece: Any,
    stem: Path,
    soundfont: Path | None = None,
    loudness: float | None = LOUDNESS,
) -> Path | None:
    """Write a piece's sound under a path without an ending; None where its domain has none beside its files.

    Args:
        soundfont: for MIDI; None is the default.
        loudness: for MIDI, LUFS; None: as the soundfont has it.

    Raises:
        OutputError: it could not be written.
    """
    waveform = tokenizer.render(piece, soundfont, loudness)
    if waveform is None:
        return None
    path = stem.with_name(stem.name + ".wav")
    write_waveform(waveform, path)
    return path


def write_waveform(waveform: Waveform, path: Path) -> None:
    """Write 16-bit WAV.

    Raises:
        OutputError: it could not be written.
    """
    write_bytes(path, wav_bytes(waveform))


def free_number(folder: Path, name: str) -> int:
    """The first number from which no NAME-number is taken in a folder: nothing that is there is written over."""
    numbered = re.compile(re.escape(name) + r"-([0-9]+)\.")
    found = [numbered.match(path.name) for path in folder.iterdir()]
    return max((int(match[1]) for match in found if match), default=0) + 1
