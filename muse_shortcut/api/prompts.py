"""What a prompt may be given as, and the piece that it is."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from muse_shortcut.api.finding import find_prompt
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import UnreadablePieceError, Warn, warn_about_file

__all__ = ["LoadedPrompt", "read_prompt"]

FROM_NOTHING = "from-nothing"


@dataclass(frozen=True, slots=True)
class LoadedPrompt:
    """A prompt that has been read."""

    piece: Any
    """The domain's object; None where a continuation begins from nothing."""
    name: str
    """What files of its continuations are called."""
    file: str | None = None
    """The name of its file, if it was one."""


def read_prompt(
    domain: Domain[Any], prompt: Any, *, limit: float | None = None, warn: Warn = warn_about_file
) -> LoadedPrompt:
    """The piece that a prompt is.

    Args:
        domain: of the model.
        prompt: a path, or the name of a shipped prompt, or (text) the words themselves, as `str`; a `Path`; the bytes
            of a file; the domain's own object (`symusic.Score`; `Waveform`, or an array (N,) or (C, N) of floats and
            its sample rate in Hz; `bytes` of text); None for nothing.
        limit: how much of it is wanted from its beginning, in the domain's unit.
        warn: called with one line for each thing in a file that was repaired or left out.

    Raises:
        ArgumentsError: it is nothing of that.
        UnreadablePieceError: it cannot be read as a piece of the model's domain.
    """
    if prompt is None:
        return LoadedPrompt(None, FROM_NOTHING)
    if isinstance(prompt, str):
        return _named(domain, prompt, limit, warn)
    if isinstance(prompt, PathLike):
        path = Path(prompt)
        return LoadedPrompt(domain.read(path, limit=limit, warn=warn), path.stem, path.name)
    if isinstance(prompt, bytes | bytearray | memoryview):
        return LoadedPrompt(domain.loads(bytes(prompt), "the prompt", warn=warn), "words" if domain.words else "prompt")
    try:
        piece = domain.piece_of(prompt)
    except UnreadablePieceError as error:
        raise ArgumentsError(str(error)) from error
    if piece is None:
        raise ArgumentsError(
            f"a prompt of {domain.kind} cannot be a {type(prompt).__name__}; allowed: a path, bytes, "
            f"{domain.object_noun}, or None"
        )
    # It is written and read once, so that what a file may be, an object may be too and no more.
    name = domain.piece_noun
    return LoadedPrompt(domain.loads(domain.dumps(piece), f"the {name}", warn=warn), name)


def _named(domain: Domain[Any], word: str, limit: float | None, warn: Warn) -> LoadedPrompt:
    path = find_prompt(domain.kind, word, words=domain.words)
    if path is None:
        return LoadedPrompt(domain.loads(word.encode("utf-8", "surrogateescape"), "the prompt", warn=warn), "words")
    return LoadedPrompt(domain.read(path, limit=limit, warn=warn), path.stem, path.name)
