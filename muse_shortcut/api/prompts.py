"""What a prompt may be given as, and the piece that it is."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from muse_shortcut.api.finding import find_prompt
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.base import Tokenizer, Waveform
from muse_tokenizers.errors import Warn, warn_about_file

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
    tokenizer: Tokenizer[Any], prompt: Any, *, limit: float | None = None, warn: Warn = warn_about_file
) -> LoadedPrompt:
    """The piece that a prompt is.

    Args:
        tokenizer: of the model.
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
        return _named(tokenizer, prompt, limit, warn)
    if isinstance(prompt, PathLike):
        path = Path(prompt)
        return LoadedPrompt(tokenizer.read(path, limit=limit, warn=warn), path.stem, path.name)
    if isinstance(prompt, bytes | bytearray | memoryview):
        return LoadedPrompt(
            tokenizer.loads(bytes(prompt), "the prompt", warn=warn), "words" if _is_text(tokenizer) else "prompt"
        )
    # The domain's own object is written and read once, so that what a file may be, an object may be too and no more.
    if tokenizer.kind == "midi" and hasattr(prompt, "ticks_per_quarter"):
        return LoadedPrompt(tokenizer.loads(tokenizer.dumps(prompt), "the score", warn=warn), "score")
    if tokenizer.kind == "audio":
        return LoadedPrompt(tokenizer.loads(tokenizer.dumps(_waveform(prompt)), "the waveform", warn=warn), "waveform")
    raise ArgumentsError(
        f"a prompt of {tokenizer.kind} cannot be a {type(prompt).__name__}; allowed: a path, bytes, "
        f"{_OBJECTS.get(tokenizer.kind, 'the object of its domain')}, or None"
    )


_OBJECTS = {"midi": "a symusic.Score in ticks", "audio": "a pair of an array and its sample rate", "text": "a str"}


def _is_text(tokenizer: Tokenizer[Any]) -> bool:
    return tokenizer.unit == "bytes"


def _waveform(prompt: Any) -> Waveform:
    if isinstance(prompt, Waveform):
        return prompt
    try:
        samples, sample_rate = prompt
        array, rate = np.atleast_2d(np.asarray(samples, dtype=np.float32)), int(sample_rate)
    except (TypeError, ValueError) as error:
        raise ArgumentsError("a waveform is a pair of an array, (N,) or (C, N), and its sample rate in Hz") from error
    return Waveform(samples=array, sample_rate=rate)


def _named(tokenizer: Tokenizer[Any], word: str, limit: float | None, warn: Warn) -> LoadedPrompt:
    path = find_prompt(tokenizer.kind, word, is_text=_is_text(tokenizer))
    if path is None:
        return LoadedPrompt(tokenizer.loads(word.encode("utf-8", "surrogateescape"), "the prompt", warn=warn), "words")
    return LoadedPrompt(tokenizer.read(path, limit=limit, warn=warn), path.stem, path.name)
