"""From a domain's name, or from a folder, to its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muse_tokenizers.base import Tokenizer
from muse_tokenizers.errors import UnknownTokenizerError
from muse_tokenizers.json_files import read_json

__all__ = ["load_tokenizer", "register_tokenizer", "tokenizer_class", "tokenizer_kinds"]

_BUILT_IN = ("midi", "audio", "text")
_registered: dict[str, type[Tokenizer[Any]]] = {}


def register_tokenizer(kind: type[Tokenizer[Any]]) -> type[Tokenizer[Any]]:
    """Make a domain of one's own known by its `kind`; may be used as a decorator.

    Whoever loads a checkpoint or a store of that domain registers the class first: files name it, and hold no code.

    Args:
        kind: the class; registering another one of the same name replaces it.

    Returns:
        The class.

    Raises:
        UnknownTokenizerError: its name is that of a built-in domain, or it has none, or it lacks a method.
    """
    name = getattr(kind, "kind", None)
    if not isinstance(name, str) or not name.isidentifier() or name in _BUILT_IN:
        raise UnknownTokenizerError(
            f"kind is {name!r}; allowed: a name such as 'abc', other than {', '.join(_BUILT_IN)}"
        )
    lacking = sorted(getattr(kind, "__abstractmethods__", ()))
    if lacking:
        raise UnknownTokenizerError(f"the tokenizer {kind.__name__} lacks {', '.join(lacking)}")
    _registered[name] = kind
    return kind


def tokenizer_kinds() -> tuple[str, ...]:
    """The names of all domains, built in and registered."""
    return (*_BUILT_IN, *_registered)


def tokenizer_class(kind: str) -> type[Tokenizer[Any]]:
    """The class of a domain.

    Raises:
        UnknownTokenizerError: there is no such domain.
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
    # A file may say anything.
    if isinstance(kind, str) and kind in _registered:
        return _registered[kind]
    raise UnknownTokenizerError(
        f"no tokenizer is called {kind!r}; allowed: {', '.join(tokenizer_kinds())}, or one that is registered first "
        "(muse_shortcut.register_tokenizer)"
    )


def load_tokenizer(folder: Path) -> Tokenizer[Any]:
    """The tokenizer that `Tokenizer.save` wrote into a folder.

    Raises:
        UnknownTokenizerError: the folder holds none, a damaged one, or one whose vocabulary this version makes
            otherwise.
    """
    path = folder / "tokenizer.json"
    content = read_json(path, UnknownTokenizerError)
    try:
        kind, fingerprint, configuration = content["kind"], content["fingerprint"], content["configuration"]
    except (KeyError, TypeError) as error:
        raise UnknownTokenizerError(f"{path} is damaged: it should hold kind, fingerprint and configuration") from error
    tokenizer = tokenizer_class(kind).from_configuration(configuration, folder)
    if tokenizer.fingerprint() != fingerprint:
        raise UnknownTokenizerError(f"{path} was written by another version: its ids no longer mean the same")
    return tokenizer
