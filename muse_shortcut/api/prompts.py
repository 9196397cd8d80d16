"""Prompts of any kind, and the pieces that they are read as."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from muse_shortcut.api.finding import check_one_file, find_prompt
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import UnreadablePieceError, Warn, warn_about_file

__all__ = ["LoadedPrompt", "read_prompt"]

FROM_NOTHING = "from-nothing"


@dataclass(frozen=True, slots=True)
class LoadedPrompt:
    """A prompt that has been read."""

    piece: Any
    """The domain's object; None if a piece is generated without a prompt."""
    name: str
    """Name of the files of its continuations."""
    file: str | None = None
    """Name of its file, if it came from one."""


def read_prompt(
    domain: Domain[Any], prompt: Any, *, limit: float | None = None, warn: Warn = warn_about_file
) -> LoadedPrompt:
    """Read a prompt as a piece.

    Args:
        domain: Domain of the model.
        prompt: As `str`: a path, the name of a shipped prompt or, for text, the text itself. A `Path`; the bytes of a
            file; the domain's own object (`symusic.Score`; `Waveform`, or an array (N,), (C, N) or (N, C) with its
            sample rate in Hz, of floats in [-1, 1] or of int16, int32 or uint8; `bytes` of text); None for no prompt.
        limit: How much of its beginning to read, in the unit of the domain (seconds, or bytes of text).
        warn: Called with one line for everything in a file that was repaired or left out.

    Raises:
        ArgumentsError: The prompt is none of these.
        UnreadablePieceError: It cannot be read as a piece of the model's domain.
    """
    if prompt is None:
        return LoadedPrompt(None, FROM_NOTHING)
    if isinstance(prompt, str):
        return _named(domain, prompt, limit, warn)
    if isinstance(prompt, PathLike):
        path = Path(prompt)
        check_one_file(path)
        return LoadedPrompt(domain.read(path, limit=limit, warn=warn), path.stem, path.name)
    if isinstance(prompt, bytes | bytearray | memoryview):
        return LoadedPrompt(
            domain.loads(bytes(prompt), "the prompt", warn=warn), "words" if domain.info.words else "prompt"
        )
    try:
        piece = domain.piece_of(prompt)
    except UnreadablePieceError as error:
        raise ArgumentsError(str(error)) from error
    if piece is None:
        raise ArgumentsError(
            f"a prompt of {domain.kind} cannot be of type {type(prompt).__name__}; allowed: a path, bytes, "
            f"{domain.info.object_noun}, or None"
        )
    name = domain.info.piece_noun
    return LoadedPrompt(domain.reread(piece, f"the {name}", warn=warn), name)


def _named(domain: Domain[Any], word: str, limit: float | None, warn: Warn) -> LoadedPrompt:
    path = find_prompt(domain.kind, word)
    if path is None:
        return LoadedPrompt(domain.loads(word.encode("utf-8", "surrogateescape"), "the prompt", warn=warn), "words")
    return LoadedPrompt(domain.read(path, limit=limit, warn=warn), path.stem, path.name)
