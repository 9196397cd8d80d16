"""From a domain's name, or from a folder, to its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muse_tokenizers.base import Tokenizer
from muse_tokenizers.errors import UnknownTokenizer
from muse_tokenizers.json_files import read_json

__all__ = ["load_tokenizer", "tokenizer_class"]


def tokenizer_class(kind: str) -> type[Tokenizer[Any]]:
    """The class of a domain.

    Raises:
        UnknownTokenizer: there is no such domain.
    """
    if kind == "midi":
        from muse_tokenizers.midi.tokenizer import MidiTokenizer

        return MidiTokenizer
    if kind == "audio":
        from muse_tokenizers.audio.tokenizer import AudioTokenizer

        return AudioTokenizer
    if kind == "text":
        from muse_tokenizers.text.tokenizer import TextTokenizer

        return TextTokenizer
    raise UnknownTokenizer(f"no tokenizer is called {kind!r}; allowed: midi, audio, text")


def load_tokenizer(folder: Path) -> Tokenizer[Any]:
    """The tokenizer that `Tokenizer.save` wrote into a folder.

    Raises:
        UnknownTokenizer: the folder holds none, a damaged one, or one whose vocabulary this version makes otherwise.
    """
    path = folder / "tokenizer.json"
    content = read_json(path, UnknownTokenizer)
    try:
        kind, fingerprint, configuration = content["kind"], content["fingerprint"], content["configuration"]
    except (KeyError, TypeError) as error:
        raise UnknownTokenizer(f"{path} is damaged: it should hold kind, fingerprint and configuration") from error
    tokenizer = tokenizer_class(kind).from_configuration(configuration, folder)
    if tokenizer.fingerprint() != fingerprint:
        raise UnknownTokenizer(f"{path} was written by another version: its ids no longer mean the same")
    return tokenizer
